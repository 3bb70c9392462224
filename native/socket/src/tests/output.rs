//! Output: frames, turns, watermarks, and the writer's wakes.

use super::lifecycle::data_of;
use super::*;

const FRAME: usize = 16 << 10;
const CONTENT: usize = FRAME - 32;
/// More than the trunk frames ahead of its writer.
const A_LOT: usize = 600 << 10;

#[test]
fn small_sends_leave_in_one_batch_in_their_order() {
    let mut world = World::new(raw());
    let [a, b] = [1, 2].map(|n| world.open(n, OWNER, b"a"));
    world.writer_wakes();
    for (handle, data) in [(a, b"1"), (b, b"2"), (a, b"3")] {
        assert_eq!(world.send(handle, OWNER, data), Send::Done);
    }
    assert_eq!(world.writer_wakes(), 1, "once, until it looks");
    let heard = world.take(1 << 20);
    let expected = [(1, b"1"), (2, b"2"), (1, b"3")];
    assert_eq!(
        heard,
        expected.map(|(n, data)| Heard::Data(n, data.to_vec()))
    );
    assert_eq!(world.take(1 << 20), []);
    world.send(a, OWNER, b"4");
    assert_eq!(world.writer_wakes(), 1, "it has looked");
}

#[test]
fn a_send_of_nothing_sends_nothing() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    assert_eq!(world.send(handle, OWNER, b""), Send::Done);
    assert_eq!(world.take_all(), [], "a frame without content would close");
    assert!(world.trunk.is_open(handle));
}

#[test]
fn frames_are_of_16_kib_at_most() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    let sent: Vec<u8> = (0..A_LOT).map(|n| n as u8).collect();
    assert_eq!(world.send(handle, OWNER, &sent), Send::Done);
    let heard: Vec<Vec<u8>> = world.take_all().into_iter().map(data_of(1)).collect();
    assert!(heard.iter().all(|data| data.len() <= CONTENT));
    assert_eq!(heard.concat(), sent);
    let status = world.trunk.status();
    assert_eq!(status.frames_out, heard.len() as u64);
    assert_eq!(status.bytes_out as usize, sent.len() + 32 * heard.len());
}

#[test]
fn a_send_waits_above_the_high_mark_until_below_the_low_one() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    // The outbox takes 64 KiB ahead; what is left stays with the connection.
    world.send(handle, OWNER, &[0; A_LOT]);
    let number = send_wait(world.send(handle, OWNER, b"more"));
    let pending = |world: &World| world.trunk.statistics(handle).unwrap().pending;
    while pending(&world) >= 32 << 10 {
        assert_eq!(world.wakes(), [], "{} bytes wait", pending(&world));
        world.take(1);
    }
    assert_eq!(world.wakes(), [(OWNER, number)]);
    assert_eq!(world.send(handle, OWNER, b"more"), Send::Done);
}

#[test]
fn a_send_below_the_high_mark_does_not_wait() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    world.send(handle, OWNER, &[0; A_LOT]);
    let pending = |world: &World| world.trunk.statistics(handle).unwrap().pending;
    while pending(&world) >= 48 << 10 {
        world.take(1);
    }
    let room = (64 << 10) - pending(&world);
    assert_eq!(world.send(handle, OWNER, &vec![0; room - 1]), Send::Done);
    assert_eq!(pending(&world), (64 << 10) - 1);
    assert_eq!(world.send(handle, OWNER, b"x"), Send::Done);
    send_wait(world.send(handle, OWNER, b"y"));
}

#[test]
fn a_wait_for_room_can_be_cancelled() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    world.send(handle, OWNER, &[0; A_LOT]);
    let number = send_wait(world.send(handle, OWNER, b"more"));
    assert!(world.trunk.cancel(handle, OWNER, number));
    assert_eq!(world.trunk.status().waiters, 0);
    let heard = world.take_all();
    assert_eq!(world.wakes(), []);
    let bytes: usize = heard.into_iter().map(|data| data_of(1)(data).len()).sum();
    assert_eq!(bytes, A_LOT, "what waited was not sent");
}

#[test]
fn a_close_wakes_those_who_wait_for_room() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    world.send(handle, OWNER, &[0; A_LOT]);
    let number = send_wait(world.send(handle, OWNER + 1, b"more"));
    world.close(handle);
    assert_eq!(world.wakes(), [(OWNER + 1, number)]);
    assert_eq!(
        world.send(handle, OWNER + 1, b"more"),
        Send::Failed(Reason::Closed)
    );
}

#[test]
fn connections_take_turns_of_one_frame() {
    let mut world = World::new(raw());
    let handles = [1, 2, 3].map(|n| world.open(n, OWNER, b"a"));
    for handle in handles {
        assert_eq!(world.send(handle, OWNER, &[0; A_LOT]), Send::Done);
    }
    // The first filled the outbox; the rest of it and the others queue.
    let ahead = world.take(1);
    assert!(ahead.into_iter().all(|heard| heard_by(&heard) == 1));
    let turns: Vec<_> = world
        .take(9 * FRAME)
        .iter()
        .map(|heard| (heard_by(heard), size(heard)))
        .collect();
    let expected: Vec<_> = [1, 2, 3].repeat(3).iter().map(|n| (*n, CONTENT)).collect();
    assert_eq!(turns, expected);
}

#[test]
fn small_senders_never_starve_one_that_queues() {
    let mut world = World::new(raw());
    let large = world.open(1, OWNER, b"a");
    world.send(large, OWNER, &[0; A_LOT]);
    let small: Vec<_> = (2..300).map(|n| world.open(n, OWNER, b"a")).collect();
    let batch = 256 << 10;
    world.take(batch);
    let mut without = 0;
    for _ in 0..10 {
        // All together more than a batch, so that the turns go around once in some batches.
        for handle in &small {
            world.send(*handle, OWNER, &[0; 1024]);
        }
        let heard = world.take(batch);
        let had_turn = heard.iter().any(|heard| heard_by(heard) == 1);
        without = if had_turn { 0 } else { without + 1 };
        assert!(without < 3, "no turn in three batches");
    }
}

#[test]
fn what_is_sent_later_never_overtakes_what_queues() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    let mut sent = vec![0; 100 << 10];
    world.send(handle, OWNER, &sent);
    world.take(1);
    for byte in 1..50u8 {
        assert_eq!(world.send(handle, OWNER, &[byte]), Send::Done);
        sent.push(byte);
    }
    let mut heard: Vec<u8> = world.take_all().into_iter().flat_map(data_of(1)).collect();
    // The first batch was taken above.
    let missing = sent.len() - heard.len();
    heard.splice(0..0, vec![0; missing]);
    assert_eq!(heard, sent);
}

/// How long what is framed ahead may be: a frame may pass the mark.
const AHEAD: usize = (64 << 10) + FRAME;

#[test]
fn a_send_stands_behind_what_is_framed_and_a_frame_of_each_other() {
    let mut world = World::new(raw());
    let greedy = [1, 2, 3].map(|n| world.open(n, OWNER, b"a"));
    let modest = world.open(4, OWNER, b"a");
    let fill = |world: &mut World| {
        for handle in greedy {
            while world.send(handle, OWNER, &[0; 64 << 10]) == Send::Done {}
        }
    };
    for round in 0..20 {
        // They send as much as they can, whenever somebody lets them: in front of it ...
        fill(&mut world);
        world.send(modest, OWNER, b"m");
        let mut before = 0;
        loop {
            let heard = world.take(256 << 10);
            let others = heard.iter().take_while(|heard| heard_by(heard) != 4);
            let count = others.clone().count();
            before += others.map(|heard| size(heard) + 32).sum::<usize>();
            if count < heard.len() {
                break;
            }
            // ... and behind it.
            fill(&mut world);
        }
        assert!(
            before <= AHEAD + 3 * FRAME,
            "{before} bytes in round {round}"
        );
    }
}

#[test]
fn many_before_a_trunk_that_takes_nothing_fill_it_and_wait() {
    const MOST: usize = 4 << 20;
    let mut world = World::new(Config {
        max_trunk_output: MOST,
        ..raw()
    });
    let handles: Vec<_> = (0..300).map(|n| world.open(n, OWNER, b"a")).collect();
    let piece = [0; 64 << 10];
    let waits: Vec<_> = handles
        .iter()
        .filter_map(|handle| match world.send(*handle, OWNER, &piece) {
            Send::Done => None,
            answer => Some((*handle, send_wait(answer))),
        })
        .collect();
    let unsent = world.trunk.status().unsent;
    assert!(unsent > 0 && unsent <= MOST + AHEAD, "{unsent} bytes wait");
    assert!(waits.len() > 200);
    assert_eq!(world.errors("max_trunk_output"), waits.len() as u64);
    // Who says little still finds room.
    assert_eq!(world.send(waits[0].0, OWNER + 1, b"little"), Send::Done);
    // One who waited closes, another's peer does.
    world.close(waits[1].0);
    world.say(299, b"");
    let mut left: Vec<_> = waits.iter().map(|(_, number)| (OWNER, *number)).collect();
    let mut rounds = 0;
    while !left.is_empty() {
        world.take(256 << 10);
        let woken = world.wakes();
        left.retain(|wait| !woken.contains(wait));
        for (_, number) in woken {
            let waited = waits.iter().find(|(_, waited)| *waited == number);
            world.send(waited.unwrap().0, OWNER, &piece);
        }
        rounds += 1;
        assert!(rounds < 200, "{} are never woken", left.len());
    }
    for handle in handles {
        world.close(handle);
    }
    world.take_all();
    assert_eq!(world.trunk.status().unsent, 0);
}

#[test]
fn room_is_kept_until_the_next_send_or_the_end() {
    const MOST: usize = 4 << 20;
    let mut world = World::new(Config {
        max_trunk_output: MOST,
        ..raw()
    });
    let all: Vec<_> = (0..100).map(|n| world.open(n, OWNER, b"a")).collect();
    let (first, handles) = all.split_first().unwrap();
    world.send(*first, OWNER, &[0; 128 << 10]);
    let keep = |world: &mut World, length: usize| {
        let mut kept = Vec::new();
        for handle in handles {
            match world.trunk.reserve(*handle, OWNER, length, &mut world.sink) {
                Send::Done => kept.push(*handle),
                Send::Wait(number) => assert!(world.trunk.cancel(*handle, OWNER, number)),
                Send::Failed(reason) => panic!("{reason:?}"),
            }
        }
        kept
    };
    let kept = keep(&mut world, 1000);
    assert!(kept.len() > 50 && kept.len() < 64, "{}", kept.len());
    assert_eq!(keep(&mut world, 1000), kept, "once for each");
    let [sends, closes, changes] = kept[..3] else {
        panic!("{}", kept.len());
    };
    assert_eq!(world.send(sends, OWNER, &[0; 64 << 10]), Send::Done);
    world.close(closes);
    world.trunk.unreserve(changes, &mut world.sink);
    world.die(OWNER);
    world.take_all();
    let handles: Vec<_> = (200..300).map(|n| world.open(n, OWNER + 1, b"a")).collect();
    world.send(handles[0], OWNER + 1, &[0; 128 << 10]);
    let again = handles[1..].iter().filter(|handle| {
        let reserved = world
            .trunk
            .reserve(**handle, OWNER + 1, 1000, &mut world.sink);
        reserved == Send::Done
    });
    assert_eq!(again.count(), kept.len(), "nothing was left of it");
}

#[test]
fn a_trunk_that_is_lost_holds_nothing() {
    let mut world = World::new(raw());
    let handles = [1, 2, 3].map(|n| world.open(n, OWNER, b"a"));
    for handle in handles {
        world.send(handle, OWNER, &[0; A_LOT]);
    }
    world.close(handles[0]);
    assert!(world.trunk.status().unsent > A_LOT);
    world.trunk.lose(&mut world.sink);
    world.trunk.audit();
    assert_eq!(world.trunk.status().unsent, 0);
    let closed = Send::Failed(Reason::ConnectionReset);
    assert_eq!(world.send(handles[1], OWNER, b"more"), closed);
    assert_eq!(world.take_all(), []);
    for handle in handles {
        world.close(handle);
    }
    assert_eq!(world.trunk.audit().connections, 0);
}

#[test]
fn a_peer_that_reads_none_of_its_closes_loses_the_trunk() {
    let mut world = World::new(Config {
        max_connections: 1000,
        max_trunk_output: 100 << 10,
        ..raw()
    });
    let error = (0..10_000).find_map(|n| {
        let bytes = [frame(n, b"a"), frame(n, b"")].concat();
        let fed = world.trunk.feed(&bytes, &mut world.sink);
        for (handle, _) in fed.opened {
            world.close(handle);
        }
        fed.error
    });
    let error = error.unwrap();
    assert_eq!(error.name(), "unread_closes");
    let unsent = world.trunk.status().unsent;
    assert!(unsent < 200 << 10, "{unsent} bytes wait");
}

fn heard_by(heard: &Heard) -> u64 {
    match heard {
        Heard::Data(n, _) | Heard::Close(n) => *n,
    }
}

fn size(heard: &Heard) -> usize {
    match heard {
        Heard::Data(_, data) => data.len(),
        Heard::Close(_) => 0,
    }
}
