//! Requests on one connection: the decoder of the ECM and the exchange of the NIF.
//!
//! The bytes mean the same however they are cut; both see the same requests; a head that is written is the head that
//! was read; and all that the server's reader gets is what the decoder saw, one request an answer.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use megaphone_fuzz::{Input, count, cut, http};
use megaphone_http::{Event, Exchange, HeadEdit, Limits, RequestDecoder, RequestError};

fuzz_target!(|input: &[u8]| {
    let mut input = Input::new(input);
    let cuts = input.bytes(4);
    let mut bytes = Vec::new();
    while !input.is_empty() {
        bytes.extend_from_slice(&http::request(&mut input));
    }
    let whole = events([&bytes[..]].into_iter());
    assert_eq!(events(cut(&bytes, cuts)), whole, "decoded in pieces");
    let handed_over = hand_over([&bytes[..]].into_iter());
    assert_eq!(
        hand_over(cut(&bytes, cuts)),
        handed_over,
        "handed over in pieces"
    );
    let (events, _) = whole;
    for head in events.iter().filter_map(|event| match event {
        Event::Head(head) => Some(head),
        _ => None,
    }) {
        let mut written = BytesMut::new();
        head.write(&HeadEdit::new(), &mut written);
        let again = RequestDecoder::new(limits()).decode(&mut written);
        let Ok(Some(Event::Head(again))) = again else {
            panic!("{again:?} is read from what was written");
        };
        assert_eq!(
            (again.method(), again.target()),
            (head.method(), head.target())
        );
        assert!(again.headers().eq(head.headers()));
        assert_eq!(
            (again.body(), again.upgrade()),
            (head.body(), head.upgrade())
        );
    }
    check_first(&events, &handed_over.0);
    count(
        events
            .iter()
            .filter(|event| matches!(event, Event::Head(_)))
            .count() as u64
            + 1,
    );
});

fn limits() -> Limits {
    Limits {
        max_head: 600,
        max_headers: 12,
        max_collected_body: 64,
        max_chunked_body: 300,
    }
}

/// The events of a connection with the pieces of each body joined, and the error that ended it. An upgrade is
/// declined.
fn events<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Event>, Option<RequestError>) {
    let mut decoder = RequestDecoder::new(limits());
    let mut input = BytesMut::new();
    let mut events: Vec<Event> = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(None) if decoder.is_held() => decoder.resume_http(),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(
                        decoder.decode(&mut input),
                        Err(error.clone()),
                        "an error lasts"
                    );
                    return (events, Some(error));
                }
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

/// All that a reader gets that reads each request whole and answers it at once.
fn hand_over<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<u8>, Option<RequestError>) {
    let mut exchange = Exchange::new(limits());
    let mut read = Vec::new();
    for piece in pieces {
        exchange.receive(piece);
        while exchange.readable() > 0 {
            assert!(exchange.readable() <= exchange.buffered());
            let length = exchange.piece().len();
            assert!(length > 0 && length <= exchange.readable());
            read.extend_from_slice(exchange.piece());
            exchange.consume(length);
        }
    }
    (read, exchange.refusal().cloned())
}

/// The first request that is handed over is the first that is decoded.
fn check_first(events: &[Event], read: &[u8]) {
    let Some(Event::Head(head)) = events.first() else {
        assert_eq!(read, b"", "a request that nobody made");
        return;
    };
    if read.is_empty() {
        return;
    }
    let seen = RequestDecoder::new(Limits::default()).decode(&mut BytesMut::from(read));
    let Ok(Some(Event::Head(seen))) = seen else {
        panic!("{seen:?} is handed over");
    };
    assert_eq!(
        (seen.method(), seen.target()),
        (head.method(), head.target())
    );
}
