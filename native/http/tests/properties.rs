//! What has to hold for every input and every way in which it's cut.
//!
//! The bytes of a connection mean the same in any chunking; a head that is written is the head that
//! was read; an exchange hands over the requests of a connection in their order, one an answer; and
//! nothing that a client or a server sends makes any of them panic.
#![allow(clippy::unwrap_used)]

use bytes::BytesMut;
use megaphone_http::{
    BodyLength, Event, Exchange, HeadEdit, Limits, Progress, RequestDecoder, RequestError,
    RequestKind, ResponseTracker, packet,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn limits() -> Limits {
    Limits {
        max_head: 600,
        max_headers: 12,
        max_collected_body: 64,
        max_chunked_body: 300,
    }
}

/// A request as a client may send it, and as a reader that knows no chunks must see it.
#[derive(Clone, Debug)]
struct Request {
    sent: Vec<u8>,
    seen: Vec<u8>,
    kind: RequestKind,
}

#[derive(Clone, Debug)]
enum Body {
    None,
    Length(Vec<u8>),
    Chunked(Vec<Vec<u8>>),
}

fn body() -> impl Strategy<Value = Body> {
    // A body that looks like a request is the one that must never become one.
    let smuggled = Just(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".to_vec());
    prop_oneof![
        Just(Body::None),
        vec(any::<u8>(), 0..150).prop_map(Body::Length),
        smuggled.prop_map(Body::Length),
        vec(vec(any::<u8>(), 1..60), 0..5).prop_map(Body::Chunked),
    ]
}

fn field() -> impl Strategy<Value = String> {
    ("[A-Za-z][A-Za-z0-9_-]{0,20}", "[!-~]([ -~]{0,20}[!-~])?").prop_map(|(name, value)| {
        // The prefix keeps the name from being one that frames a request.
        format!("X-{name}: {value}\r\n")
    })
}

fn request() -> impl Strategy<Value = Request> {
    let method = select(vec![
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "x",
    ]);
    (
        method,
        r##"/([!-"$&-~]|%[4-7][0-9a-fA-F]){0,20}"##,
        vec(field(), 0..4),
        vec(field(), 0..4),
        body(),
    )
        .prop_map(|(method, target, before, after, body)| {
            let start = format!(
                "{method} {target} HTTP/1.1\r\nHost: a\r\n{}",
                before.concat()
            );
            let end = after.concat() + "\r\n";
            let kind = RequestKind::of(method);
            let (sent, seen) = match body {
                Body::None => {
                    let whole = (start + &end).into_bytes();
                    (whole.clone(), whole)
                }
                Body::Length(body) => {
                    let head = format!("{start}Content-Length: {}\r\n{end}", body.len());
                    let whole = [head.as_bytes(), &body].concat();
                    (whole.clone(), whole)
                }
                Body::Chunked(chunks) => {
                    let mut sent =
                        format!("{start}Transfer-Encoding: chunked\r\n{end}").into_bytes();
                    for chunk in &chunks {
                        sent.extend_from_slice(format!("{:x};e=f\r\n", chunk.len()).as_bytes());
                        sent.extend_from_slice(chunk);
                        sent.extend_from_slice(b"\r\n");
                    }
                    sent.extend_from_slice(b"0\r\nTrailer: x\r\n\r\n");
                    let body = chunks.concat();
                    let fields = after.concat();
                    let head = format!("{start}{fields}Content-Length: {}\r\n\r\n", body.len());
                    (sent, [head.as_bytes(), &body].concat())
                }
            };
            Request { sent, seen, kind }
        })
}

/// Requests on one connection, maybe damaged in a few places.
fn connection() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![
        select(&b"\r\n\t :;,0159afHTP\0\x7f\x80\xff"[..]),
        any::<u8>(),
    ];
    let edits = vec((any::<prop::sample::Index>(), 0..3_u8, byte), 0..4);
    (vec(request(), 1..4), edits).prop_map(|(requests, edits)| {
        let mut bytes: Vec<u8> = requests
            .into_iter()
            .flat_map(|request| request.sent)
            .collect();
        for (at, action, byte) in edits {
            let at = at.index(bytes.len());
            match action {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

/// Cuts bytes into pieces of these lengths, again and again.
fn cut<'a>(bytes: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let length = (*lengths.next()?).min(rest.len());
        let (piece, after) = rest.split_at(length);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(1..5_usize, 1..5), vec(1..200_usize, 1..5)]
}

/// The events of a connection with body pieces joined, and the error that ended it.
fn events<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Event>, Option<RequestError>) {
    let mut decoder = RequestDecoder::new(limits());
    let mut input = BytesMut::new();
    let mut events: Vec<Event> = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
                Ok(Some(event)) => match (events.last_mut(), event) {
                    (Some(Event::Body(body)), Event::Body(more)) => {
                        *body = [&body[..], &more].concat().into();
                    }
                    (_, event) => events.push(event),
                },
            }
        }
    }
    (events, None)
}

fn answer(kind: RequestKind, number: usize) -> Vec<u8> {
    let head = match number % 3 {
        0 => "HTTP/1.1 204 No Content\r\n\r\n",
        1 => "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
        _ => "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    };
    let body = match number % 3 {
        _ if kind == RequestKind::Head => "",
        0 => "",
        1 => "abc",
        _ => "1\r\na\r\n0\r\n\r\n",
    };
    [head, body].concat().into_bytes()
}

/// All that a reader gets of a connection whose every request is read whole and answered at once.
fn handed_over<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, Option<RequestError>) {
    let mut exchange = Exchange::new(limits());
    let mut read = Vec::new();
    for piece in pieces {
        exchange.receive(piece);
        while exchange.readable() > 0 {
            read.extend_from_slice(exchange.piece());
            exchange.consume(exchange.piece().len());
        }
    }
    (read, exchange.refusal().cloned())
}

/// A third of the usual cases: these inputs are large. `PROPTEST_CASES` still scales it.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: default.cases.div_ceil(3),
        ..default
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_decoder_gives_the_same_events_in_any_chunking(bytes in connection(), cuts in cuts()) {
        prop_assert_eq!(events(cut(&bytes, &cuts)), events(std::iter::once(&bytes[..])));
    }

    #[test]
    fn a_head_that_is_written_is_the_head_that_was_read(request in request()) {
        let (events, error) = events(std::iter::once(&request.sent[..]));
        prop_assert_eq!(error, None);
        let Some(Event::Head(head)) = events.first() else { panic!("no head in {events:?}") };
        let mut written = BytesMut::new();
        head.write(&HeadEdit::new(), &mut written);
        prop_assert_eq!(&written, head.as_bytes());
        let again = RequestDecoder::new(limits()).decode(&mut written);
        prop_assert_eq!(again, Ok(Some(Event::Head(head.clone()))));
    }

    #[test]
    fn a_decoder_and_an_exchange_agree(bytes in connection(), cuts in cuts()) {
        let (events, _) = events(cut(&bytes, &cuts));
        let (read, _) = handed_over(cut(&bytes, &cuts));
        let decoded = events.first().map(|event| match event {
            Event::Head(head) => head.clone(),
            other => panic!("a connection starts with {other:?}"),
        });
        let whole = events.contains(&Event::End);
        match decoded {
            // What isn't whole is handed over only where its body is streamed.
            Some(head) if whole || matches!(head.body(), BodyLength::Length(65..)) => {
                let again = RequestDecoder::new(limits()).decode(&mut BytesMut::from(&read[..]));
                let Ok(Some(Event::Head(seen))) = again else { panic!("{again:?}") };
                prop_assert_eq!(seen.method(), head.method());
                prop_assert_eq!(seen.target(), head.target());
                prop_assert_ne!(seen.body(), BodyLength::Chunked);
            }
            Some(head) if head.expects_continue() => {}
            _ => prop_assert_eq!(read, b""),
        }
    }

    #[test]
    fn an_exchange_hands_over_the_same_in_any_chunking(bytes in connection(), cuts in cuts()) {
        let whole = handed_over(std::iter::once(&bytes[..]));
        prop_assert_eq!(handed_over(cut(&bytes, &cuts)), whole);
    }

    /// Bytes come and are read and answered in pieces, in turns.
    #[test]
    fn an_exchange_hands_over_each_request_once_one_an_answer(
        requests in vec(request(), 1..6),
        cuts in cuts(),
        answer_cuts in cuts(),
        reads in vec(1..100_usize, 1..5),
    ) {
        let bytes: Vec<u8> = requests.iter().flat_map(|request| request.sent.clone()).collect();
        let mut exchange = Exchange::new(limits());
        let mut pieces = cut(&bytes, &cuts);
        let mut reads = reads.iter().cycle();
        for (number, request) in requests.iter().enumerate() {
            let mut read = Vec::new();
            while read.len() < request.seen.len() {
                if exchange.readable() == 0 {
                    let Some(piece) = pieces.next() else {
                        panic!("after all bytes, request {number} isn't readable: {request:?}");
                    };
                    exchange.receive(piece);
                }
                let count = exchange.readable().min(*reads.next().unwrap());
                read.extend_from_slice(&exchange.peek()[..count]);
                exchange.consume(count);
            }
            prop_assert_eq!(&read, &request.seen, "request {}", number);
            prop_assert!(exchange.in_flight());
            for piece in cut(&answer(request.kind, number), &answer_cuts) {
                prop_assert_eq!(exchange.readable(), 0, "before request {} is answered", number);
                exchange.send(piece);
            }
        }
        prop_assert_eq!(pieces.next(), None);
        prop_assert!(exchange.is_idle());
        prop_assert_eq!(exchange.take_reply(), None);
    }

    /// A reader that answers without reading the body gets the next request all the same.
    #[test]
    fn what_was_not_read_never_becomes_a_request(
        requests in vec(request(), 1..6),
        cuts in cuts(),
        unread in vec(any::<bool>(), 6),
    ) {
        let bytes: Vec<u8> = requests.iter().flat_map(|request| request.sent.clone()).collect();
        let mut exchange = Exchange::new(limits());
        let mut pieces = cut(&bytes, &cuts);
        for (number, request) in requests.iter().enumerate() {
            while exchange.readable() == 0 {
                exchange.receive(pieces.next().expect("bytes of a request are left"));
            }
            let head = exchange.piece().to_vec();
            prop_assert!(head.ends_with(b"\r\n\r\n"), "request {}", number);
            prop_assert!(request.seen.starts_with(&head), "request {}", number);
            if unread[number] {
                exchange.consume(head.len());
            }
            exchange.send(&answer(request.kind, number));
        }
        pieces.for_each(|piece| exchange.receive(piece));
        prop_assert!(exchange.is_idle());
    }

    #[test]
    fn nothing_makes_an_exchange_panic(
        client in prop_oneof![connection(), vec(any::<u8>(), 0..300)],
        server in prop_oneof![
            vec(any::<u8>(), 0..100),
            vec(select(vec!["HTTP/1.1 ", "200 OK\r\n", "101 x\r\n", "\r\n", "Content-Length: 1\r\n",
                "Transfer-Encoding: chunked\r\n", "0\r\n\r\n", "a", "Connection: close\r\n"]), 0..20)
                .prop_map(|parts| parts.concat().into_bytes()),
        ],
        cuts in cuts(),
        ended in any::<bool>(),
    ) {
        let mut exchange = Exchange::new(limits());
        let mut server = cut(&server, &cuts);
        for piece in cut(&client, &cuts) {
            exchange.receive(piece);
            exchange.consume(exchange.piece().len() / 2 + 1);
            if let Some(piece) = server.next() {
                exchange.send(piece);
            }
            let reply = exchange.take_reply();
            prop_assert!(reply.is_none() || exchange.must_close() || exchange.refusal().is_none());
            prop_assert!(exchange.readable() <= exchange.buffered());
            prop_assert!(exchange.piece().len() <= exchange.readable());
            prop_assert!(exchange.refusal().is_none() || exchange.readable() == 0);
        }
        if ended {
            exchange.finish_input();
            exchange.consume(usize::MAX);
        }
        prop_assert!(!(exchange.is_idle() && (exchange.in_flight() || exchange.buffered() > 0)));
    }

    #[test]
    fn nothing_makes_a_decoder_or_a_tracker_panic(
        bytes in vec(any::<u8>(), 0..300),
        cuts in cuts(),
    ) {
        let _events = events(cut(&bytes, &cuts));
        for kind in [RequestKind::Head, RequestKind::Connect, RequestKind::Other] {
            let mut tracker = ResponseTracker::new();
            tracker.start(kind);
            for piece in cut(&bytes, &cuts) {
                match tracker.follow(piece) {
                    Progress::Complete { consumed } | Progress::Upgraded { consumed } => {
                        prop_assert!(consumed <= piece.len());
                    }
                    Progress::Within | Progress::UntilClose => {}
                }
            }
        }
    }

    #[test]
    fn a_packet_is_never_longer_than_its_input(
        bytes in vec(prop_oneof![select(&b"HTTP/1.0 :*\r\n\t[]GET"[..]), any::<u8>()], 0..60),
        limit in 0..70_usize,
    ) {
        for kind in [packet::PacketKind::Http, packet::PacketKind::Httph] {
            let limit = std::num::NonZeroUsize::new(limit);
            if let packet::Decoded::Packet { consumed, .. } = packet::decode(kind, &bytes, limit) {
                prop_assert!((1..=bytes.len()).contains(&consumed));
                prop_assert!(limit.is_none_or(|limit| consumed <= limit.get()) || consumed <= 2);
            }
        }
    }
}
