//! How much of a session's output may wait, and for whom it waits.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod v2_support;

use megaphone_trunk::room::RESERVED;
use megaphone_trunk::v2::{Config, Flags, HEADER_LEN, INITIAL_WINDOW, Session, Written};
use v2_support::{Log, Seen, data, headers, id, receive, take_frames, update};

const MIB: usize = 1 << 20;
const PIECE: usize = 64 << 10;
const WINDOW: usize = INITIAL_WINDOW as usize;

/// A server with room for so many bytes and streams 1, 3, 5 and so on, its output taken.
fn server(max_output: usize, streams: u32) -> Session {
    let config = Config {
        max_output,
        linger: Some(60_000),
        ..Config::default()
    };
    let mut server = Session::server(config, 0);
    for number in 0..streams {
        receive(
            &mut server,
            &data(2 * number + 1, Flags::SYN, b"GET / please"),
        );
    }
    headers(&mut server);
    server
}

fn numbers(streams: u32) -> impl Iterator<Item = u32> {
    (0..streams).map(|number| 2 * number + 1)
}

/// Writes pieces until one is refused; how many were taken.
fn fill(server: &mut Session, number: u32, piece: usize) -> usize {
    let piece = vec![b'x'; piece];
    std::iter::from_fn(|| (server.write(id(number), &piece) == Ok(Written::Taken)).then_some(()))
        .count()
}

/// What is told as all output is taken.
fn told(server: &mut Session) -> Vec<Seen> {
    let mut log = Log::default();
    while server.has_output() {
        server.take_output(256 << 10, &mut Vec::new(), &mut log);
    }
    log.0
}

#[test]
fn a_write_stands_behind_what_is_framed_and_a_frame_of_each_other() {
    const FRAME: usize = 16 << 10;
    let mut server = server(64 * MIB, 4);
    for number in numbers(4) {
        receive(&mut server, &update(number, Flags::NONE, u32::MAX / 2));
    }
    let greedy = |server: &mut Session| {
        for number in [1, 3, 5] {
            fill(server, number, PIECE);
        }
    };
    for round in 0..20 {
        // They write as much as they can whenever they may: before it ...
        greedy(&mut server);
        assert_eq!(server.write(id(7), b"modest"), Ok(Written::Taken));
        let mut before = 0;
        let mut seen = false;
        while !seen {
            let mut out = Vec::new();
            server.take_output(256 << 10, &mut out, &mut Log::default());
            for frame in take_frames(&mut out) {
                seen |= frame.header.stream == id(7);
                if !seen {
                    before += HEADER_LEN + frame.data.len();
                }
            }
            // ... and behind it.
            greedy(&mut server);
        }
        assert!(
            before <= PIECE + 4 * (FRAME + HEADER_LEN),
            "{before} bytes in round {round}"
        );
    }
}

#[test]
fn many_who_read_nothing_fill_a_half() {
    let mut server = server(64 * MIB, 6_000);
    for _ in 0..4 {
        for number in numbers(6_000) {
            while fill(&mut server, number, PIECE) > 0 {
                // The trunk itself is fast.
                headers(&mut server);
            }
        }
        headers(&mut server);
    }
    assert_eq!(server.total_queued(), server.total_shut());
    assert!(server.total_queued() > 24 * MIB);
    assert!(
        server.total_queued() <= 32 * MIB,
        "{}",
        server.total_queued()
    );
    assert!(server.writes_without_room() > 5_000);
    // Whoever reads goes on, and so does who says little.
    receive(&mut server, &update(11_999, Flags::NONE, INITIAL_WINDOW));
    assert_eq!(
        server.write(id(11_999), &vec![b'x'; PIECE]),
        Ok(Written::Taken)
    );
    assert_eq!(server.write(id(11_997), &[b'x'; 1_000]), Ok(Written::Taken));
}

#[test]
fn many_before_a_trunk_that_takes_nothing_fill_all_of_it() {
    let mut server = server(8 * MIB, 2_000);
    for number in numbers(2_000) {
        fill(&mut server, number, PIECE);
    }
    let large = server.total_queued();
    assert!(large > 3 * MIB && large <= 8 * MIB, "{large}");
    assert_eq!(server.total_shut(), 0);
    // A short one finds room after all of them.
    assert_eq!(server.write(id(3_999), &[b'x'; 500]), Ok(Written::Taken));
    for number in numbers(2_000) {
        fill(&mut server, number, 100);
    }
    assert!(
        server.total_queued() <= 8 * MIB,
        "{}",
        server.total_queued()
    );
}

#[test]
fn those_who_found_no_room_are_told_in_their_order_as_the_trunk_takes_output() {
    let mut server = server(8 * MIB, 400);
    let refused: Vec<u32> = numbers(400)
        .filter(|number| fill(&mut server, *number, PIECE) == 0)
        .collect();
    assert!(refused.len() > 100, "{}", refused.len());
    let told = told(&mut server);
    let writable = |number: u32| told.iter().position(|seen| *seen == Seen::Writable(number));
    let places: Vec<_> = refused.iter().map(|number| writable(*number)).collect();
    // As many as there is room for; they write, and the others follow.
    let first = places.iter().take_while(|place| place.is_some()).count();
    assert!(first > 0 && places[..first].is_sorted(), "{places:?}");
    let mut left = refused.clone();
    for _ in 0..refused.len() {
        left.retain(|number| server.write(id(*number), &vec![b'x'; PIECE]) == Ok(Written::Refused));
        headers(&mut server);
    }
    assert_eq!(left, [] as [u32; 0]);
}

#[test]
fn whoever_waits_before_a_shut_window_is_told_as_it_opens() {
    let mut server = server(PIECE, 3);
    for number in [1, 3] {
        assert_eq!(
            server.write(id(number), &vec![b'x'; WINDOW]),
            Ok(Written::Taken)
        );
        headers(&mut server);
    }
    assert_eq!(server.write(id(1), &vec![b'x'; PIECE]), Ok(Written::Taken));
    assert_eq!(
        server.write(id(3), &vec![b'x'; PIECE]),
        Ok(Written::Refused)
    );
    assert_eq!((server.queued(id(1)), server.queued(id(3))), (PIECE, 0));
    assert_eq!(told(&mut server), []);
    assert_eq!(
        receive(&mut server, &update(3, Flags::NONE, INITIAL_WINDOW)),
        [Seen::Writable(3)]
    );
    assert_eq!(server.write(id(3), &vec![b'x'; PIECE]), Ok(Written::Taken));
    assert_eq!(headers(&mut server).len(), 4);
    assert_eq!((server.total_queued(), server.total_shut()), (PIECE, PIECE));
}

#[test]
fn whoever_waits_before_a_shut_window_is_told_as_others_leave() {
    for leave in [Flags::RST, Flags::NONE] {
        let mut server = server(PIECE, 2);
        for number in [1, 3] {
            assert_eq!(
                server.write(id(number), &vec![b'x'; WINDOW]),
                Ok(Written::Taken)
            );
            headers(&mut server);
        }
        assert_eq!(server.write(id(1), &vec![b'x'; PIECE]), Ok(Written::Taken));
        assert_eq!(
            server.write(id(3), &vec![b'x'; PIECE]),
            Ok(Written::Refused)
        );
        // By a reset of either side, or as its window opens.
        let mut seen = receive(&mut server, &update(1, leave, INITIAL_WINDOW));
        seen.extend(told(&mut server));
        assert!(seen.contains(&Seen::Writable(3)), "{leave:?}: {seen:?}");
    }
}

#[test]
fn room_is_kept_for_a_piece() {
    let mut server = server(8 * MIB, 300);
    assert_eq!(
        server.write(id(599), &vec![b'x'; 2 * PIECE]),
        Ok(Written::Taken)
    );
    let kept: Vec<_> = numbers(200)
        .filter_map(|number| Some((number, server.reserve(id(number), PIECE).unwrap()?)))
        .collect();
    assert!(kept.len() > 50 && kept.len() < 100, "{}", kept.len());
    let others = numbers(299).filter(|number| fill(&mut server, *number, PIECE) > 0);
    assert_eq!(others.count(), 0, "it is kept for nobody else");
    for (number, reserved) in &kept {
        assert_eq!(
            server.write_reserved(id(*number), &vec![b'x'; RESERVED], *reserved),
            Ok(Written::Taken)
        );
    }
    headers(&mut server);
    assert_eq!(server.total_queued(), 0);
    // What is not needed is room again.
    for _ in 0..2 {
        let again: Vec<_> = kept
            .iter()
            .map(|(number, _)| server.reserve(id(*number), PIECE).unwrap().unwrap())
            .collect();
        for reserved in again {
            server.unreserve(reserved);
        }
    }
}

#[test]
fn a_write_of_nothing_needs_no_room() {
    let mut server = server(1, 2);
    assert_eq!(
        server.write(id(1), &vec![b'x'; WINDOW + 1]),
        Ok(Written::Taken)
    );
    assert_eq!(
        server.write(id(3), &vec![b'x'; WINDOW + 1]),
        Ok(Written::Refused)
    );
    assert_eq!(server.write(id(3), b""), Ok(Written::Taken));
}

#[test]
fn a_peer_has_a_time_for_the_last_bytes_of_a_stream() {
    let mut server = server(64 * MIB, 4);
    for number in [1, 3, 5, 7] {
        assert_eq!(
            server.write(id(number), &vec![b'x'; WINDOW + 1_000]),
            Ok(Written::Taken)
        );
        headers(&mut server);
    }
    server.tick(1_000).unwrap();
    for number in [1, 3, 5] {
        server.release(id(number)).unwrap();
    }
    // One takes all, one a part, one nothing; the fourth has an owner.
    receive(&mut server, &update(1, Flags::NONE, 2_000));
    receive(&mut server, &update(3, Flags::NONE, 10));
    headers(&mut server);
    receive(
        &mut server,
        &data(7, Flags::NONE, b"still here, and so is the trunk"),
    );
    server.tick(60_999).unwrap();
    assert_eq!(headers(&mut server), []);
    server.tick(61_000).unwrap();
    let resets = |server: &mut Session| -> Vec<u32> {
        let resets = headers(server)
            .into_iter()
            .filter(|header| header.flags.has(Flags::RST));
        resets.map(|header| header.stream.get()).collect()
    };
    assert_eq!(resets(&mut server), [5]);
    receive(
        &mut server,
        &data(7, Flags::NONE, b"still here, and so is the trunk"),
    );
    server.tick(121_000).unwrap();
    assert_eq!(resets(&mut server), [3]);
    assert_eq!(server.totals().streams_unread, 2);
    assert_eq!((server.total_queued(), server.total_shut()), (1_000, 1_000));
}
