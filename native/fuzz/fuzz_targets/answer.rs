//! Answers, and an exchange of requests and answers in any order.
//!
//! Where an answer ends is the same however it is cut. An exchange that is refused hands over nothing more, one that
//! is idle holds nothing, and one that ends says so.
#![no_main]

use libfuzzer_sys::fuzz_target;
use megaphone_fuzz::{Input, count, cut, http};
use megaphone_http::{Exchange, Limits, Progress, RequestKind, ResponseTracker};

fuzz_target!(|input: &[u8]| {
    let mut input = Input::new(input);
    let cuts = input.bytes(4);
    let answers = follow_all(&mut input.clone(), cuts);
    count(answers + exchange(&mut input));
});

fn follow_all(input: &mut Input<'_>, cuts: &[u8]) -> u64 {
    let kind = input.pick(&[RequestKind::Other, RequestKind::Head, RequestKind::Connect]);
    let mut bytes = Vec::new();
    while !input.is_empty() {
        bytes.extend_from_slice(&http::answer(input));
    }
    // What can't be read as a head is known for certain at its end.
    bytes.extend_from_slice(b"\r\n\r\n");
    let whole = follow(kind, [&bytes[..]].into_iter());
    assert_eq!(follow(kind, cut(&bytes, cuts)), whole, "in pieces");
    whole.0.len() as u64
}

/// Where the answers end, and what comes of the connection.
fn follow<'a>(
    kind: RequestKind,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Vec<usize>, &'static str) {
    let mut tracker = ResponseTracker::new();
    tracker.start(kind);
    let mut ends = Vec::new();
    let mut at = 0;
    for mut piece in pieces {
        while !piece.is_empty() {
            match tracker.follow(piece) {
                Progress::Within => {
                    at += piece.len();
                    piece = &[];
                }
                Progress::Complete { consumed } => {
                    at += consumed;
                    piece = &piece[consumed..];
                    ends.push(at);
                    tracker.start(kind);
                }
                Progress::Upgraded { consumed } => {
                    ends.push(at + consumed);
                    return (ends, "upgraded");
                }
                Progress::UntilClose => return (ends, "until close"),
            }
        }
    }
    (ends, if tracker.began() { "within" } else { "between" })
}

/// Client, reader and server take turns; how many of the server's answers there were.
fn exchange(input: &mut Input<'_>) -> u64 {
    let mut exchange = Exchange::new(Limits {
        max_head: 600,
        max_headers: 12,
        max_collected_body: 64,
        max_chunked_body: 300,
    });
    let mut turns = 0;
    while !input.is_empty() {
        turns += 1;
        match input.byte() {
            choice @ ..0x60 => {
                let text = http::request(input);
                let (first, second) = text.split_at(usize::from(choice).min(text.len()));
                exchange.receive(first);
                exchange.receive(second);
            }
            0x60..0xa0 => {
                let most = usize::from(input.byte());
                let count = most.min(exchange.readable());
                exchange.consume(count);
            }
            0xa0..0xfc => exchange.send(&http::answer(input)),
            _ => exchange.finish_input(),
        }
        let readable = exchange.readable();
        assert!(readable <= exchange.buffered());
        assert!(exchange.piece().len() <= readable);
        assert!(exchange.piece().is_empty() == (readable == 0));
        assert!(
            exchange.refusal().is_none() || readable == 0,
            "a refused request is read"
        );
        if let Some(reply) = exchange.take_reply() {
            assert!(
                reply.starts_with(b"HTTP/1.1 ") && reply.windows(4).any(|it| it == b"\r\n\r\n")
            );
        }
        assert!(!exchange.is_idle() || (exchange.buffered() == 0 && !exchange.in_flight()));
        assert!(!exchange.must_close() || !exchange.in_flight());
        assert_eq!(exchange.take_reply(), None, "it is said once");
    }
    exchange.finish_input();
    let count = exchange.readable();
    exchange.consume(count);
    assert_eq!(exchange.readable(), 0);
    turns
}
