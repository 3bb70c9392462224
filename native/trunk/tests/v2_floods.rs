//! What brings no progress has an end, and honest work never meets it.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod v2_support;

use megaphone_trunk::v2::{
    Ceiling, Config, Event, Flags, Header, Session, SessionError, SessionFault,
};
use v2_support::{Log, data, headers, id, raw, receive, take, update};

fn server() -> Session {
    Session::server(Config::default(), 0)
}

/// Sends a million rounds, each a few frames, and takes the output as a peer does that reads.
/// Answers which round ended the session, and what the session took at most, in bytes.
fn flood(
    session: &mut Session,
    mut round: impl FnMut(u32, &mut Vec<u8>),
) -> Option<(u32, SessionError, usize)> {
    let mut trunk = Vec::new();
    let mut most = 0;
    for n in 0..1_000_000 {
        trunk.clear();
        round(n, &mut trunk);
        if let Err(error) = session.receive(&trunk, &mut |_: Event<'_>| {}) {
            assert_eq!(take(session), raw(0, 3, 0, 0, 1), "only a go-away is said");
            return Some((n, error, most));
        }
        if n % 512 == 511 {
            most = most.max(session.allocated());
            take(session);
        }
    }
    None
}

fn expect_end(
    what: &str,
    end: Option<(u32, SessionError, usize)>,
    ceiling: Ceiling,
    rounds: std::ops::Range<u32>,
) {
    let (round, error, most) = end.unwrap_or_else(|| panic!("{what}: it never ends"));
    assert_eq!(error.fault, SessionFault::Ceiling(ceiling), "{what}");
    assert!(rounds.contains(&round), "{what}: ended by round {round}");
    assert!(most < 200_000, "{what}: the session took {most} bytes");
}

fn stream(n: u32) -> u32 {
    2 * n + 1
}

#[test]
fn streams_opened_and_reset() {
    let end = flood(&mut server(), |n, trunk| {
        trunk.extend(update(stream(n), Flags::SYN, 0));
        trunk.extend(update(stream(n), Flags::RST, 0));
    });
    expect_end("rapid reset", end, Ceiling::UnusedStreams, 10_000..10_001);
}

#[test]
fn streams_opened_and_finished_empty() {
    let end = flood(&mut server(), |n, trunk| {
        trunk.extend(update(stream(n), Flags::SYN.with(Flags::FIN), 0));
        trunk.extend(update(stream(n), Flags::RST, 0));
    });
    expect_end("empty streams", end, Ceiling::UnusedStreams, 5_000..5_001);
}

#[test]
fn requests_sent_and_reset() {
    let request = [b'x'; 64];
    let end = flood(&mut server(), |n, trunk| {
        trunk.extend(data(stream(n), Flags::SYN, &request));
        trunk.extend(update(stream(n), Flags::RST, 0));
    });
    expect_end(
        "rapid reset with requests",
        end,
        Ceiling::UnansweredStreams,
        250_000..250_001,
    );
}

#[test]
fn streams_that_go_on_after_their_end() {
    let end = flood(&mut server(), |n, trunk| {
        trunk.extend(data(stream(n), Flags::SYN.with(Flags::FIN), &[b'x'; 64]));
        trunk.extend(data(stream(n), Flags::NONE, &[b'x'; 64]));
    });
    expect_end(
        "data after FIN",
        end,
        Ceiling::UnansweredStreams,
        250_000..250_001,
    );
}

#[test]
fn streams_that_their_owner_rejects() {
    let mut server = server();
    for n in 0..1_000_000 {
        receive(
            &mut server,
            &data(stream(n), Flags::SYN, b"no PROXY header"),
        );
        if server.reject(id(stream(n))).is_err() {
            assert_eq!(n, 250_000);
            let fault = server.failure().unwrap().fault;
            assert_eq!(fault, SessionFault::Ceiling(Ceiling::UnansweredStreams));
            assert_eq!(headers(&mut server), [Header::go_away(1)]);
            return;
        }
        take(&mut server);
    }
    panic!("it never ends");
}

#[test]
fn pings() {
    let ping = |n, trunk: &mut Vec<u8>| trunk.extend(raw(0, 2, 1, 0, n));
    let end = flood(&mut server(), ping);
    // Every 512 pings the answers are read, a peer that reads none is ended before.
    expect_end("pings", end, Ceiling::Pings, 256..257);
    let mut session = server();
    for n in 0..1_000 {
        receive(&mut session, &raw(0, 2, 1, 0, n));
        assert_eq!(headers(&mut session), [Header::ping(Flags::ACK, n)]);
    }
    assert!(
        session
            .receive(&raw(0, 2, 1, 0, 0), &mut Log::default())
            .is_err()
    );

    let answers = |n, trunk: &mut Vec<u8>| trunk.extend(raw(0, 2, 2, 0, n));
    let end = flood(&mut server(), answers);
    expect_end("answers to no ping", end, Ceiling::Pings, 1_000..1_001);
    let end = flood(&mut server(), |_, trunk| trunk.extend(raw(0, 3, 0, 0, 0)));
    expect_end("go-aways", end, Ceiling::Pings, 1_001..1_002);
}

#[test]
fn frames_that_say_nothing() {
    let open = || {
        let mut session = server();
        receive(&mut session, &data(1, Flags::SYN, b"x"));
        session
    };
    for flags in [Flags::NONE, Flags::ACK] {
        let end = flood(&mut open(), |_, trunk| trunk.extend(data(1, flags, b"")));
        expect_end("empty data", end, Ceiling::EmptyFrames, 10_000..10_001);
        let end = flood(&mut open(), |_, trunk| trunk.extend(update(1, flags, 0)));
        expect_end("idle updates", end, Ceiling::IdleUpdates, 100_000..100_001);
    }
    let end = flood(&mut open(), |_, trunk| {
        trunk.extend(update(1, Flags::NONE, 1));
    });
    expect_end("small updates", end, Ceiling::IdleUpdates, 100_000..100_001);
}

#[test]
fn frames_for_streams_that_are_gone() {
    let mut session = server();
    receive(&mut session, &data(1, Flags::SYN, b"x"));
    receive(&mut session, &update(1, Flags::RST, 0));
    let end = flood(&mut session, |_, trunk| {
        trunk.extend(data(1, Flags::NONE, b"anybody?"));
    });
    expect_end("stray data", end, Ceiling::StrayFrames, 250_000..250_001);
    let end = flood(&mut server(), |_, trunk| {
        trunk.extend(update(9, Flags::RST, 0));
    });
    expect_end("stray resets", end, Ceiling::StrayFrames, 250_000..250_001);
}

#[test]
fn bytes_one_by_one() {
    // The reader takes each and the window comes back: nothing but the ceiling ends this.
    let mut session = server();
    receive(&mut session, &data(1, Flags::SYN, b"x"));
    let trunk = data(1, Flags::NONE, b"x").repeat(1_000);
    let mut sent = 0;
    let error = loop {
        match session.receive(&trunk, &mut |_: Event<'_>| {}) {
            Ok(()) => sent += 1_000,
            Err(error) => break error,
        }
        session.consumed(id(1), 1_000).unwrap();
        take(&mut session);
    };
    assert_eq!(error.fault, SessionFault::Ceiling(Ceiling::TinyFrames));
    assert!((1_000_000..1_002_000).contains(&sent), "{sent} bytes");
}

#[test]
fn a_million_streams_and_more() {
    let mut session = server();
    let mut trunk = Vec::new();
    for n in 0..1_000_000 {
        trunk.extend(update(stream(n), Flags::SYN, 0));
    }
    session.receive(&trunk, &mut |_: Event<'_>| {}).unwrap();
    assert_eq!(session.stream_count(), 1_000_000);
    let waiting = session.allocated() / 1_000_000;
    assert_eq!(take(&mut session).len(), 12_000_000);
    let idle = session.allocated() / 1_000_000;
    assert!(idle < 60 && waiting < 70, "{idle} and {waiting} bytes each");

    let before = session.allocated();
    let mut most = 0;
    for n in 1_000_000..2_000_000 {
        if let Err(error) =
            session.receive(&update(stream(n), Flags::SYN, 0), &mut |_: Event<'_>| {})
        {
            assert_eq!(error.fault, SessionFault::Ceiling(Ceiling::RefusedStreams));
            assert_eq!(n, 1_100_000);
            // The refusals that nobody read: twelve bytes each.
            assert!(
                most - before <= 12 * 100_000,
                "{} bytes more",
                most - before
            );
            return;
        }
        most = most.max(session.allocated());
    }
    panic!("it never ends");
}

/// An ECM's request on a stream of its own, answered and finished.
fn serve(client: &mut Session, server: &mut Session) {
    let stream = client.open(0, &[b'q'; 200]).unwrap();
    let _ = client.finish(stream).unwrap();
    let mut up = take(client);
    server.receive(&up, &mut |_: Event<'_>| {}).unwrap();
    assert!(server.write(stream, &[b'a'; 500]).is_ok());
    let _ = server.finish(stream).unwrap();
    up.clear();
    server.take_output(usize::MAX, &mut up, &mut |_: Event<'_>| {});
    client.receive(&up, &mut |_: Event<'_>| {}).unwrap();
}

#[test]
fn honest_requests_at_50_000_a_second() {
    let (mut client, mut server) = (Session::client(Config::default(), 0), server());
    for second in 1..=6 {
        for _ in 0..50_000 {
            serve(&mut client, &mut server);
        }
        server.tick(second * 1_000).unwrap();
        client.tick(second * 1_000).unwrap();
    }
    assert_eq!(server.totals().streams_served, 300_000);
    assert_eq!((client.stream_count(), server.stream_count()), (0, 0));
}

/// 100,000 clients are lost at once, all of them in mid-request, and twice more within minutes.
#[test]
fn an_honest_trunk_may_lose_its_clients() {
    let (mut client, mut server) = (Session::client(Config::default(), 0), server());
    for (round, answered) in [false, false, true, true, false].into_iter().enumerate() {
        let streams: Vec<_> = (0..100_000)
            .map(|_| client.open(0, &[b'q'; 200]).unwrap())
            .collect();
        server
            .receive(&take(&mut client), &mut |_: Event<'_>| {})
            .unwrap();
        if answered {
            for stream in &streams {
                assert!(server.write(*stream, &[b'a'; 100]).is_ok());
            }
        }
        client
            .receive(&take(&mut server), &mut |_: Event<'_>| {})
            .unwrap();
        for stream in streams {
            client.reset(stream).unwrap();
        }
        server
            .receive(&take(&mut client), &mut |_: Event<'_>| {})
            .unwrap();
        assert_eq!(server.stream_count(), 0);
        server.tick(60_000 * (round as u64 + 1)).unwrap();
    }
}

/// A million clients that each send a byte of whitespace a minute, for three minutes.
#[test]
fn honest_clients_may_keep_alive_by_whitespace() {
    let mut server = server();
    receive(&mut server, &data(1, Flags::SYN, b"x"));
    let second = data(1, Flags::NONE, b" ").repeat(16_700);
    for now in 1..=180 {
        server.receive(&second, &mut |_: Event<'_>| {}).unwrap();
        server.consumed(id(1), 16_700).unwrap();
        take(&mut server);
        if now % 30 == 0 {
            server.tick(now * 1_000).unwrap();
        }
    }
}

/// A peer pings every ten seconds for a week in which nothing else happens.
#[test]
fn an_honest_peer_may_ask_whether_we_are_there() {
    let mut server = server();
    for n in 0..60_480 {
        receive(&mut server, &raw(0, 2, 1, 0, n));
        assert_eq!(headers(&mut server), [Header::ping(Flags::ACK, n)]);
        server.tick(u64::from(n) * 10_000).unwrap();
    }
}

/// A reader that returns each small message's window at once is odd, but honest.
#[test]
fn an_honest_reader_may_return_windows_early() {
    let mut server = server();
    receive(&mut server, &data(1, Flags::SYN, b"x"));
    for _ in 0..300_000 {
        assert!(server.write(id(1), &[b'm'; 150]).is_ok());
        take(&mut server);
        receive(&mut server, &update(1, Flags::NONE, 150));
    }
}

/// After the longest day nothing is left but the table's first room.
#[test]
fn memory_comes_back() {
    let (mut client, mut server) = (Session::client(Config::default(), 0), server());
    let before = server.allocated();
    let streams: Vec<_> = (0..20_000)
        .map(|_| client.open(0, &[b'q'; 200]).unwrap())
        .collect();
    server
        .receive(&take(&mut client), &mut |_: Event<'_>| {})
        .unwrap();
    take(&mut server);
    for stream in &streams {
        assert!(server.write(*stream, &[b'a'; 1_000]).is_ok());
    }
    assert!(server.allocated() > 20_000_000);
    let answers = take(&mut server);
    assert_eq!(answers.len(), 20_000 * 1_012);
    for stream in streams {
        server.reset(stream).unwrap();
    }
    take(&mut server);
    assert_eq!(server.allocated(), before);
}
