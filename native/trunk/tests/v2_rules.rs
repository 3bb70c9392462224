//! Each rule of yamux, kept once and broken once.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod v2_support;

use megaphone_trunk::v2::{
    Config, Event, Flags, FrameType, GoAwayCode, HEADER_LEN, Header, HeaderFault, INITIAL_WINDOW,
    OpenError, Remains, ResetCause, Session, SessionFault, StreamError, Written,
};
use v2_support::{Log, Seen, data, headers, id, raw, receive, take, update};

const SYN_ACK: Flags = Flags::SYN.with(Flags::ACK);
const SYN_RST: Flags = Flags::SYN.with(Flags::RST);
const SYN_FIN: Flags = Flags::SYN.with(Flags::FIN);

fn server() -> Session {
    Session::server(Config::default(), 0)
}

/// A server whose client has streams in every state: 1 is open and had 5 bytes, 3 was reset, 5 is
/// finished by the client, 7 by both. Its output is taken.
fn busy_server() -> (Session, u64) {
    let mut server = server();
    let trunk = [
        data(1, Flags::SYN, b"hello"),
        data(3, Flags::SYN, b"there"),
        update(3, Flags::RST, 0),
        data(5, SYN_FIN, b"bye"),
        data(7, SYN_FIN, b"bye"),
    ]
    .concat();
    receive(&mut server, &trunk);
    assert_eq!(server.finish(id(7)), Ok(Remains::Nothing));
    headers(&mut server);
    assert_eq!(server.stream_count(), 2);
    (server, trunk.len() as u64)
}

fn write(session: &mut Session, number: u32, bytes: &[u8]) {
    assert_eq!(session.write(id(number), bytes), Ok(Written::Taken));
}

#[test]
fn faults_that_end_the_session() {
    use SessionFault::{
        FlagCombination, Header as InHeader, NotSessionStream, Oversized, PeerFailed, ReusedId,
        SessionStream, UnknownStream, WindowOverflow, WindowOverrun, WrongParity,
    };
    let (kind, window) = (FrameType::Data, INITIAL_WINDOW - 5);
    let opener = "client";
    for (what, frame, stream, fault) in [
        (
            "a version",
            raw(1, 0, 0, 1, 0),
            None,
            InHeader(HeaderFault::Version { found: 1 }),
        ),
        (
            "a type",
            raw(0, 4, 0, 1, 0),
            None,
            InHeader(HeaderFault::Type { found: 4 }),
        ),
        (
            "flags",
            raw(0, 0, 0x10, 1, 0),
            None,
            InHeader(HeaderFault::Flags { found: 0x10 }),
        ),
        (
            "SYN and ACK",
            data(9, SYN_ACK, b""),
            Some(9),
            FlagCombination { kind, flags: 3 },
        ),
        (
            "SYN and RST",
            data(9, SYN_RST, b""),
            Some(9),
            FlagCombination { kind, flags: 9 },
        ),
        (
            "a ping that is neither",
            raw(0, 2, 0, 0, 7),
            None,
            FlagCombination {
                kind: FrameType::Ping,
                flags: 0,
            },
        ),
        (
            "a ping that is both",
            raw(0, 2, 3, 0, 7),
            None,
            FlagCombination {
                kind: FrameType::Ping,
                flags: 3,
            },
        ),
        (
            "a go-away with a flag",
            raw(0, 3, 1, 0, 0),
            None,
            FlagCombination {
                kind: FrameType::GoAway,
                flags: 1,
            },
        ),
        (
            "data for the session",
            data(0, Flags::NONE, b"x"),
            None,
            SessionStream { kind },
        ),
        (
            "a window for the session",
            update(0, Flags::SYN, 0),
            None,
            SessionStream {
                kind: FrameType::WindowUpdate,
            },
        ),
        (
            "a ping for a stream",
            raw(0, 2, 1, 1, 7),
            Some(1),
            NotSessionStream {
                kind: FrameType::Ping,
            },
        ),
        (
            "a go-away for a stream",
            raw(0, 3, 0, 1, 0),
            Some(1),
            NotSessionStream {
                kind: FrameType::GoAway,
            },
        ),
        (
            "an even id",
            data(2, Flags::SYN, b"x"),
            Some(2),
            WrongParity { opener },
        ),
        (
            "an even id by window update",
            update(4, Flags::SYN, 0),
            Some(4),
            WrongParity { opener },
        ),
        ("SYN twice", data(1, Flags::SYN, b"x"), Some(1), ReusedId),
        (
            "SYN for a stream that was reset",
            update(3, Flags::SYN, 0),
            Some(3),
            ReusedId,
        ),
        (
            "SYN for a stream that is closed",
            data(7, Flags::SYN, b"x"),
            Some(7),
            ReusedId,
        ),
        (
            "data for a stream that never was",
            data(9, Flags::NONE, b"x"),
            Some(9),
            UnknownStream { kind },
        ),
        (
            "a window for a stream that never was",
            update(9, Flags::NONE, 10),
            Some(9),
            UnknownStream {
                kind: FrameType::WindowUpdate,
            },
        ),
        (
            "data for a stream that we never opened",
            data(2, Flags::NONE, b"x"),
            Some(2),
            UnknownStream { kind },
        ),
        (
            "a byte more than the window",
            raw(0, 0, 0, 1, INITIAL_WINDOW - 4),
            Some(1),
            WindowOverrun {
                length: INITIAL_WINDOW - 4,
                window,
            },
        ),
        (
            "the largest length there is",
            raw(0, 0, 0, 1, u32::MAX),
            Some(1),
            WindowOverrun {
                length: u32::MAX,
                window,
            },
        ),
        (
            "a first frame over the window",
            raw(0, 0, 1, 9, INITIAL_WINDOW + 1),
            Some(9),
            WindowOverrun {
                length: INITIAL_WINDOW + 1,
                window: INITIAL_WINDOW,
            },
        ),
        (
            "the largest length for a stream that is gone",
            raw(0, 0, 0, 3, u32::MAX),
            Some(3),
            Oversized {
                length: u32::MAX,
                limit: 64 << 20,
            },
        ),
        (
            "a window past 2^32 - 1",
            update(1, Flags::NONE, u32::MAX - INITIAL_WINDOW + 1),
            Some(1),
            WindowOverflow {
                delta: u32::MAX - INITIAL_WINDOW + 1,
                window: INITIAL_WINDOW,
            },
        ),
        (
            "such a window with SYN",
            update(9, Flags::SYN, u32::MAX),
            Some(9),
            WindowOverflow {
                delta: u32::MAX,
                window: INITIAL_WINDOW,
            },
        ),
        (
            "a go-away for a protocol error",
            raw(0, 3, 0, 0, 1),
            None,
            PeerFailed { code: 1 },
        ),
        (
            "a go-away with an unknown code",
            raw(0, 3, 0, 0, 77),
            None,
            PeerFailed { code: 77 },
        ),
    ] {
        let (mut server, offset) = busy_server();
        let mut log = Log::default();
        let error = server.receive(&frame, &mut log).unwrap_err();
        assert_eq!(
            (error.offset, error.stream, error.fault),
            (offset, stream.map(id), fault),
            "{what}"
        );
        let data_seen = log.0.iter().any(|seen| matches!(seen, Seen::Data(..)));
        assert!(!data_seen, "{what}: data of a bad frame was handed on");

        let told = match fault {
            PeerFailed { .. } => vec![],
            _ => vec![Header::go_away(1)],
        };
        assert_eq!(headers(&mut server), told, "{what}");
        // It has ended for good, and says why to all who ask.
        assert_eq!(server.receive(&frame, &mut log), Err(error), "{what}");
        assert_eq!(server.write(id(1), b"x"), Err(StreamError::Ended(error)));
        assert_eq!(server.open(0, b""), Err(OpenError::Ended(error)));
        assert_eq!(server.tick(0), Err(error));
        assert_eq!(server.failure(), Some(error));
        let mut open: Vec<_> = server.streams().collect();
        open.sort_unstable();
        assert!(open.starts_with(&[(id(1), 10), (id(5), 50)]), "{open:?}");
    }
}

#[test]
fn errors_say_what_and_where() {
    let (mut server, offset) = busy_server();
    let error = server
        .receive(&raw(0, 0, 0, 1, 300_000), &mut |_: Event<'_>| {})
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "trunk byte {offset}, stream 1: 300000 bytes of data; the window has room for 262139"
        )
    );
    assert_eq!(error.fault.name(), "window_overrun");
}

#[test]
fn faults_and_crossings_that_cost_a_stream_or_nothing() {
    let rst = |number| vec![Header::window_update(id(number), Flags::RST, 0)];
    for (what, frames, seen, told) in [
        (
            "data for a stream that was reset",
            data(3, Flags::NONE, b"xyz"),
            vec![],
            vec![],
        ),
        (
            "a window for a stream that is closed",
            update(7, Flags::NONE, 300_000),
            vec![],
            vec![],
        ),
        (
            "a reset of a stream that was reset",
            update(3, Flags::RST, 0),
            vec![],
            vec![],
        ),
        (
            "a reset of a stream that never was",
            data(9, Flags::RST, b""),
            vec![],
            vec![],
        ),
        (
            "FIN for a stream that never was",
            update(9, Flags::FIN, 0),
            vec![],
            vec![],
        ),
        (
            "data after FIN",
            data(5, Flags::NONE, b"more"),
            vec![Seen::Reset(5, ResetCause::DataAfterFinish)],
            rst(5),
        ),
        (
            "FIN twice",
            update(5, Flags::FIN, 0),
            vec![Seen::Reset(5, ResetCause::DataAfterFinish)],
            rst(5),
        ),
        (
            "a window after FIN",
            update(5, Flags::NONE, 300_000),
            vec![],
            vec![],
        ),
        (
            "ACK by the one who opened",
            update(1, Flags::ACK, 0),
            vec![],
            vec![],
        ),
        (
            "a reset with data",
            data(1, Flags::RST, b"lost"),
            vec![Seen::Reset(1, ResetCause::Peer)],
            vec![],
        ),
        (
            "FIN and RST",
            update(1, Flags::FIN.with(Flags::RST), 0),
            vec![Seen::Reset(1, ResetCause::Peer)],
            vec![],
        ),
        (
            "a go-away, then a stream, then the old one",
            [
                raw(0, 3, 0, 0, 0),
                data(9, Flags::SYN, b"late"),
                data(1, Flags::NONE, b"on"),
            ]
            .concat(),
            vec![Seen::GoAway, Seen::Data(1, b"on".to_vec())],
            rst(9),
        ),
        ("an answer to no ping", raw(0, 2, 2, 0, 99), vec![], vec![]),
        (
            "a ping",
            raw(0, 2, 1, 0, 99),
            vec![],
            vec![Header::ping(Flags::ACK, 99)],
        ),
    ] {
        let (mut server, _) = busy_server();
        assert_eq!(receive(&mut server, &frames), seen, "{what}");
        assert_eq!(headers(&mut server), told, "{what}");
        // The session goes on.
        let next = receive(&mut server, &raw(0, 2, 1, 0, 5));
        assert_eq!(
            (next, headers(&mut server)),
            (vec![], vec![Header::ping(Flags::ACK, 5)])
        );
    }
}

#[test]
fn a_stream_from_its_first_frame_to_its_last() {
    let mut client = Session::client(Config::default(), 0);
    let mut server = server();
    let stream = client.open(10, b"request").unwrap();
    assert_eq!(client.open(30, b""), Ok(id(3)));
    let trunk = take(&mut client);
    assert_eq!(
        trunk,
        [data(1, Flags::SYN, b"request"), update(3, Flags::SYN, 0)].concat()
    );
    assert_eq!(
        receive(&mut server, &trunk),
        [
            Seen::Opened(1),
            Seen::Data(1, b"request".to_vec()),
            Seen::Opened(3)
        ]
    );

    // The first frame of the answer accepts the stream; the other one is accepted by itself.
    assert_eq!(server.write(stream, b"answer"), Ok(Written::Taken));
    assert_eq!(server.finish(stream), Ok(Remains::Stream));
    assert_eq!(server.write(stream, b"more"), Err(StreamError::Finished));
    let trunk = take(&mut server);
    assert_eq!(
        trunk,
        [
            data(1, Flags::ACK, b"answer"),
            data(1, Flags::FIN, b""),
            update(3, Flags::ACK, 0)
        ]
        .concat()
    );
    assert_eq!(
        receive(&mut client, &trunk),
        [Seen::Data(1, b"answer".to_vec()), Seen::Finished(1)]
    );
    assert_eq!(client.finish(stream), Ok(Remains::Nothing));
    let trunk = take(&mut client);
    assert_eq!(trunk, data(1, Flags::FIN, b""));
    assert_eq!(
        receive(&mut server, &trunk),
        [Seen::Finished(1), Seen::Closed(1)]
    );
    assert_eq!((client.stream_count(), server.stream_count()), (1, 1));
    assert_eq!(server.write(stream, b"x"), Err(StreamError::Gone));
    assert_eq!(client.totals().streams_served, 1);
    assert_eq!(server.totals().streams_served, 1);
}

#[test]
fn the_server_may_open_streams_too() {
    let mut server = server();
    let mut client = Session::client(Config::default(), 0);
    assert_eq!(server.open(20, b"push"), Ok(id(2)));
    assert_eq!(server.open(40, b"push"), Ok(id(4)));
    let seen = receive(&mut client, &take(&mut server));
    assert_eq!(
        seen[..2],
        [Seen::Opened(2), Seen::Data(2, b"push".to_vec())]
    );
}

#[test]
fn ids_come_late_but_never_twice() {
    let mut server = server();
    let open = |number| data(number, Flags::SYN, b"");
    receive(&mut server, &[open(5), open(1), open(3)].concat());
    assert_eq!(server.stream_count(), 3);
    for used in [1, 3, 5] {
        let mut server = Session::server(Config::default(), 0);
        receive(&mut server, &[open(5), open(1), open(3)].concat());
        let error = server
            .receive(&open(used), &mut Log::default())
            .unwrap_err();
        assert_eq!(error.fault, SessionFault::ReusedId);
    }
    // Further back than is remembered, the stream alone is refused.
    receive(&mut server, &open(1_000_001));
    headers(&mut server);
    assert_eq!(receive(&mut server, &open(7)), []);
    assert_eq!(
        headers(&mut server),
        [Header::window_update(id(7), Flags::RST, 0)]
    );
}

#[test]
fn more_streams_than_may_be_are_refused() {
    let config = Config {
        max_streams: 2,
        ..Config::default()
    };
    let mut server = Session::server(config.clone(), 0);
    let trunk: Vec<u8> = [1, 3, 5]
        .iter()
        .flat_map(|number| data(*number, Flags::SYN, b"x"))
        .collect();
    let seen = receive(&mut server, &trunk);
    assert_eq!(seen.len(), 4, "{seen:?}");
    let told = headers(&mut server);
    assert!(told.contains(&Header::window_update(id(5), Flags::RST, 0)));
    // What follows on the refused stream is no fault, and room is used again.
    assert_eq!(receive(&mut server, &data(5, Flags::NONE, b"y")), []);
    receive(&mut server, &update(1, Flags::RST, 0));
    assert_eq!(
        receive(&mut server, &update(7, Flags::SYN, 0)),
        [Seen::Opened(7)]
    );

    let mut client = Session::client(config, 0);
    client.open(0, b"").unwrap();
    client.open(0, b"").unwrap();
    assert_eq!(client.open(0, b""), Err(OpenError::TooMany { limit: 2 }));
}

#[test]
fn after_a_go_away_the_old_streams_finish() {
    let (mut server, _) = busy_server();
    server.go_away(GoAwayCode::Normal);
    assert_eq!(headers(&mut server), [Header::go_away(0)]);
    assert_eq!(server.open(0, b""), Err(OpenError::GoneAway));
    assert_eq!(receive(&mut server, &data(9, Flags::SYN, b"late")), []);
    assert_eq!(
        headers(&mut server),
        [Header::window_update(id(9), Flags::RST, 0)]
    );
    assert_eq!(server.write(id(1), b"answer"), Ok(Written::Taken));
    assert_eq!(server.finish(id(1)), Ok(Remains::Stream));
    assert_eq!(server.finish(id(5)), Ok(Remains::Nothing));
    assert!(!server.is_drained());
    receive(&mut server, &update(1, Flags::FIN, 0));
    assert!(!server.is_drained(), "its output was not taken");
    headers(&mut server);
    assert!(server.is_drained());
}

#[test]
fn windows_come_back_in_lumps() {
    let (mut server, _) = busy_server();
    let half = INITIAL_WINDOW as usize / 2;
    receive(&mut server, &data(1, Flags::NONE, &vec![b'x'; half + 10]));
    server.consumed(id(1), half - 1).unwrap();
    assert_eq!(headers(&mut server), []);
    server.consumed(id(1), 1).unwrap();
    server.consumed(id(1), 2).unwrap();
    assert_eq!(
        headers(&mut server),
        [Header::window_update(
            id(1),
            Flags::NONE,
            INITIAL_WINDOW / 2 + 2
        )]
    );
    assert_eq!(
        server.consumed(id(1), 14),
        Err(StreamError::Overconsumed {
            asked: 14,
            held: 13
        })
    );
    assert_eq!(server.consumed(id(3), 1), Err(StreamError::Gone));
}

#[test]
fn a_reader_may_wait_for_more_than_a_window() {
    let (mut server, _) = busy_server();
    let wanted = 20 << 20;
    server.demand(id(1), wanted).unwrap();
    // Windows open in doublings.
    let more = (32 << 20) - INITIAL_WINDOW;
    assert_eq!(
        headers(&mut server),
        [Header::window_update(id(1), Flags::NONE, more)]
    );
    // Asked again, nothing more is given: a window is opened once.
    server.demand(id(1), wanted).unwrap();
    assert_eq!(headers(&mut server), []);
    let rest = (32 << 20) - 5;
    receive(&mut server, &data(1, Flags::NONE, &vec![b'x'; rest]));
    assert!(
        server
            .receive(&data(1, Flags::NONE, b"x"), &mut Log::default())
            .is_err(),
        "the window is used up"
    );

    let (mut server, _) = busy_server();
    assert_eq!(
        server.demand(id(1), (64 << 20) + 1),
        Err(StreamError::DemandTooLarge {
            asked: (64 << 20) + 1,
            limit: 64 << 20
        })
    );
    assert!(server.demand(id(1), usize::MAX).is_err());
}

#[test]
fn a_reader_that_waits_gets_what_is_owed() {
    let (mut server, _) = busy_server();
    let third = INITIAL_WINDOW as usize / 3;
    receive(&mut server, &data(1, Flags::NONE, &vec![b'x'; third]));
    server.consumed(id(1), third).unwrap();
    assert_eq!(headers(&mut server), []);
    server.demand(id(1), INITIAL_WINDOW as usize - 5).unwrap();
    assert_eq!(
        headers(&mut server),
        [Header::window_update(id(1), Flags::NONE, third as u32)]
    );
}

#[test]
fn a_shut_window_holds_up_nobody_else() {
    let (mut server, _) = busy_server();
    let window = INITIAL_WINDOW as usize;
    assert_eq!(
        server.write(id(1), &vec![b'x'; window + 3]),
        Ok(Written::Taken)
    );
    let sent: u32 = headers(&mut server)
        .iter()
        .map(|header| header.length)
        .sum();
    assert_eq!(sent, INITIAL_WINDOW);
    assert!(!server.has_output(), "a shut window is no reason to write");
    assert_eq!(server.queued(id(1)), 3);
    assert_eq!(server.write(id(5), b"neighbour"), Ok(Written::Taken));
    assert_eq!(headers(&mut server), [Header::data(id(5), Flags::NONE, 9)]);
    receive(&mut server, &update(1, Flags::NONE, 2));
    assert_eq!(headers(&mut server), [Header::data(id(1), Flags::NONE, 2)]);
    receive(&mut server, &update(1, Flags::NONE, 10_000));
    assert_eq!(server.finish(id(1)), Ok(Remains::Stream));
    assert_eq!(headers(&mut server), [Header::data(id(1), Flags::FIN, 1)]);
    assert_eq!(server.total_queued(), 0);
}

#[test]
fn a_full_queue_refuses_until_it_is_low() {
    let (mut server, _) = busy_server();
    let config = Config::default();
    write(&mut server, 1, &vec![b'x'; INITIAL_WINDOW as usize]);
    headers(&mut server);
    assert_eq!(
        server.write(id(1), &vec![b'x'; config.high_watermark]),
        Ok(Written::Taken)
    );
    assert_eq!(server.write(id(1), b"x"), Ok(Written::Refused));
    assert_eq!(server.queued(id(1)), config.high_watermark);

    let above_low = (config.high_watermark - config.low_watermark - 1) as u32;
    let mut log = Log::default();
    for (window, seen) in [
        (above_low, vec![]),
        (1, vec![Seen::Writable(1)]),
        (10, vec![]),
    ] {
        receive(&mut server, &update(1, Flags::NONE, window));
        server.take_output(usize::MAX, &mut Vec::new(), &mut log);
        assert_eq!(std::mem::take(&mut log.0), seen, "{window}");
    }
}

#[test]
fn streams_take_turns_by_frames_and_control_goes_first() {
    let config = Config {
        output_ahead: 0,
        ..Config::default()
    };
    let mut server = Session::server(config, 0);
    let trunk = [
        data(1, Flags::SYN, b"a"),
        data(3, Flags::SYN, b"b"),
        data(5, Flags::SYN, b"c"),
    ];
    receive(&mut server, &trunk.concat());
    for (number, len) in [(1, 40_000), (3, 20_000), (5, 10)] {
        write(&mut server, number, &vec![b'x'; len]);
    }
    server.go_away(GoAwayCode::Normal);
    receive(&mut server, &raw(0, 2, 1, 0, 42));
    let told: Vec<_> = headers(&mut server)
        .iter()
        .map(|header| (header.kind, header.stream.get(), header.length))
        .collect();
    use FrameType::{Data, GoAway, Ping, WindowUpdate};
    assert_eq!(
        told,
        [
            (GoAway, 0, 0),
            (Ping, 0, 42),
            (WindowUpdate, 1, 0),
            (WindowUpdate, 3, 0),
            (WindowUpdate, 5, 0),
            (Data, 1, 16_384),
            (Data, 3, 16_384),
            (Data, 5, 10),
            (Data, 1, 16_384),
            (Data, 3, 3_616),
            (Data, 1, 7_232),
        ]
    );
}

#[test]
fn output_comes_in_bounded_pieces() {
    let (mut server, _) = busy_server();
    write(&mut server, 1, &vec![b'x'; 200_000]);
    let mut out = Vec::new();
    let mut pieces = 0;
    loop {
        let before = out.len();
        let taken = server.take_output(before + 20_000, &mut out, &mut Log::default());
        assert_eq!(taken.bytes, out.len() - before);
        // What was framed ahead comes whole.
        assert!(taken.bytes <= 64 * 1024 + 16_384 + HEADER_LEN, "{taken:?}");
        pieces += 1;
        if !taken.more {
            break;
        }
    }
    assert!(pieces > 3, "{pieces}");
    let sent: u32 = v2_support::take_frames(&mut out)
        .iter()
        .map(|frame| frame.header.length)
        .sum();
    assert_eq!(sent, 200_000);
}

#[test]
fn a_released_stream_ends_by_itself() {
    // What was written goes out, what comes is dropped, the peer's FIN ends it: no more events.
    let (mut server, _) = busy_server();
    write(&mut server, 1, b"answer");
    assert_eq!(server.release(id(1)), Ok(Remains::Stream));
    assert_eq!(
        receive(&mut server, &data(1, Flags::NONE, b"who listens?")),
        []
    );
    assert_eq!(
        headers(&mut server),
        [
            Header::data(id(1), Flags::NONE, 6),
            Header::data(id(1), Flags::FIN, 0)
        ]
    );
    assert_eq!(receive(&mut server, &update(1, Flags::FIN, 0)), []);
    assert_eq!(server.stream_count(), 1);
    assert_eq!(server.release(id(5)), Ok(Remains::Nothing));
    assert_eq!(server.release(id(5)), Err(StreamError::Gone));
}

#[test]
fn a_released_stream_is_reset_before_its_peer_waits_for_ever() {
    let (mut server, _) = busy_server();
    // More than the window: the answer is still on its way when the upload goes on.
    write(&mut server, 1, &vec![b'x'; INITIAL_WINDOW as usize + 1]);
    assert_eq!(server.release(id(1)), Ok(Remains::Stream));
    headers(&mut server);
    let upload = vec![b'u'; INITIAL_WINDOW as usize / 2 + 1];
    assert_eq!(receive(&mut server, &data(1, Flags::NONE, &upload)), []);
    // The peer may take the answer only once its upload is out.
    assert!(matches!(
        headers(&mut server)[..],
        [Header { kind: FrameType::WindowUpdate, flags: Flags::NONE, length, .. }]
            if length as usize >= upload.len()
    ));
    receive(&mut server, &update(1, Flags::NONE, 1_000));
    assert_eq!(headers(&mut server), [Header::data(id(1), Flags::FIN, 1)]);
    assert_eq!(receive(&mut server, &data(1, Flags::NONE, &upload)), []);
    assert_eq!(
        headers(&mut server),
        [Header::window_update(id(1), Flags::RST, 0)]
    );
    assert_eq!(server.stream_count(), 1);
}

/// Both have more to say than a window, and neither is read any more.
#[test]
fn two_released_streams_do_not_wait_for_each_other() {
    let mut client = Session::client(Config::default(), 0);
    let mut server = Session::server(Config::default(), 0);
    let much = vec![b'x'; INITIAL_WINDOW as usize + 1];
    let stream = client.open(7, b"x").unwrap();
    let mut ignore = |_: Event<'_>| {};
    let mut bytes = Vec::new();
    client.take_output(usize::MAX, &mut bytes, &mut ignore);
    server.receive(&bytes, &mut ignore).unwrap();
    assert_eq!(client.write(stream, &much), Ok(Written::Taken));
    assert_eq!(server.write(stream, &much), Ok(Written::Taken));
    let _ = client.release(stream).unwrap();
    let _ = server.release(stream).unwrap();
    for _ in 0..4 {
        let mut bytes = Vec::new();
        client.take_output(usize::MAX, &mut bytes, &mut ignore);
        server.receive(&bytes, &mut ignore).unwrap();
        bytes.clear();
        server.take_output(usize::MAX, &mut bytes, &mut ignore);
        client.receive(&bytes, &mut ignore).unwrap();
    }
    assert_eq!((client.stream_count(), server.stream_count()), (0, 0));
}

#[test]
fn a_reset_drops_what_was_queued() {
    let (mut server, _) = busy_server();
    write(&mut server, 1, &vec![b'x'; INITIAL_WINDOW as usize + 1_000]);
    headers(&mut server);
    assert_eq!(server.total_queued(), 1_000);
    server.reset(id(1)).unwrap();
    assert_eq!(server.total_queued(), 0);
    assert_eq!(
        headers(&mut server),
        [Header::window_update(id(1), Flags::RST, 0)]
    );
    assert_eq!(server.reset(id(1)), Err(StreamError::Gone));
    assert_eq!(receive(&mut server, &data(1, Flags::FIN, b"crossed")), []);
}

#[test]
fn queues_are_told_with_their_owners() {
    let (mut server, _) = busy_server();
    write(&mut server, 1, &vec![b'x'; INITIAL_WINDOW as usize + 1_000]);
    headers(&mut server);
    let queued = |server: &Session| -> Vec<_> {
        let streams = server.queued_streams();
        streams
            .map(|it| (it.id, it.tag.is_some(), it.bytes))
            .collect()
    };
    assert_eq!(queued(&server), [(id(1), true, 1_000)]);
    server.release(id(1)).unwrap();
    assert_eq!(queued(&server), [(id(1), false, 1_000)]);
    server.lose();
    assert_eq!((queued(&server)[0].2, server.total_queued()), (0, 0));
    assert!(!server.has_output());
}

#[test]
fn a_stream_reset_inside_a_frame_gets_no_more_of_it() {
    let (mut server, _) = busy_server();
    let frame = data(1, Flags::FIN, b"first and second");
    assert_eq!(
        receive(&mut server, &frame[..HEADER_LEN + 5]),
        [Seen::Data(1, b"first".to_vec())]
    );
    server.reset(id(1)).unwrap();
    assert_eq!(receive(&mut server, &frame[HEADER_LEN + 5..]), []);
    assert!(server.is_between_frames());
    assert_eq!(receive(&mut server, &raw(0, 2, 1, 0, 1)), []);
}

#[test]
fn a_silent_peer_is_asked_and_then_left() {
    let mut server = Session::server(Config::default(), 1_000);
    server.tick(30_999).unwrap();
    assert_eq!(headers(&mut server), []);
    assert_eq!(server.next_tick(), 31_000);
    server.tick(31_000).unwrap();
    assert_eq!(headers(&mut server), [Header::ping(Flags::SYN, 0)]);
    receive(&mut server, &raw(0, 2, 2, 0, 0));
    server.tick(50_000).unwrap();
    server.tick(80_000).unwrap();
    assert_eq!(headers(&mut server), [Header::ping(Flags::SYN, 1)]);
    let error = server.tick(95_000).unwrap_err();
    assert_eq!(
        error.fault,
        SessionFault::KeepaliveTimeout { waited_ms: 15_000 }
    );
    assert_eq!(headers(&mut server), [Header::go_away(2)]);
}

#[test]
fn ids_run_out_long_after_it_shows() {
    let mut client = Session::client(Config::default(), 0);
    assert_eq!(client.ids_left(), 1 << 30);
    client.open(0, b"").unwrap();
    assert_eq!(client.ids_left(), (1 << 30) - 1);
}
