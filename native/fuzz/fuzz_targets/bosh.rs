//! BOSH bodies, and the messages of a session on a trunk.
//!
//! Each element of a body is a document on its own, and documents that are written to an answer are those that are
//! read from it. Messages are the same however they are cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use megaphone_fuzz::{Input, count, cut, http, xml as text};
use megaphone_xmpp::bosh::{Request, Response};
use megaphone_xmpp::framing::{Message, Messages, put_message};
use megaphone_xmpp::{Limits, xml};

fuzz_target!(|input: &[u8]| {
    let mut input = Input::new(input);
    let mut bodies = 0;
    while !input.is_empty() {
        bodies += match input.byte() {
            choice @ ..0xc0 => body(&mut input, choice),
            _ => messages(&mut input),
        };
    }
    count(bodies);
});

const START: &[&str] = &[
    "<body xmlns='http://jabber.org/protocol/httpbind' rid='1' sid='a'>",
    "<body rid='9007199254740991' xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' \
     xmpp:restart='true' xmpp:version='1.0' ack='1' key='k' newkey='n' pause='60'>",
    "<b:body xmlns:b='http://jabber.org/protocol/httpbind' rid='2' xmlns='jabber:client' type='terminate'>",
    "<body xmlns='http://jabber.org/protocol/httpbind' rid='+18446744073709551616'>",
    "<body xmlns='http://jabber.org/protocol/httpbind' rid='3' wait=' 60 ' hold='1' ver='1.6' secure='1' to='a' \
     xml:lang='en' content='text/xml' route='xmpp:a:1' xmlns:p='urn:p' xmlns:q='urn:q' \
     xmlns:stream='http://etherx.jabber.org/streams'>",
    "\u{feff}<?xml version='1.0'?><body xmlns='http://jabber.org/protocol/httpbind' rid='4'>",
    "<body>",
    "",
];

/// A body and what it is answered with; how many bodies these were.
fn body(input: &mut Input<'_>, choice: u8) -> u64 {
    let start = input.pick(START);
    let mut body = start.as_bytes().to_vec();
    for _ in 0..choice & 7 {
        if choice & 0x20 == 0 {
            text::element(input, 3, &mut body);
        } else {
            body.extend_from_slice(&text::part(input));
        }
    }
    body.extend_from_slice(match start.starts_with("<b:") {
        true => b"</b:body>",
        false => b"</body >",
    });
    if choice & 0x10 != 0 {
        let at = usize::from(input.byte()) % body.len();
        body[at] = input.byte();
    }
    let limits = Limits::default();
    let Ok(request) = Request::read(&body, &limits) else {
        return 1;
    };
    let documents: Vec<_> = request.payload.iter().map(xml::Document::to_vec).collect();
    for document in &documents {
        let alone = xml::check(document, &limits).expect("an element is a document");
        assert_eq!(&alone.to_vec(), document, "it has all that it needs");
    }
    answer(&documents);
    2
}

fn answer(documents: &[Vec<u8>]) {
    let mut body = Vec::new();
    Response::default().write(&mut body, documents);
    let body = String::from_utf8(body).expect("a body is text");
    let body = body.replacen("<body", "<body rid='1'", 1);
    let limits = Limits {
        max_document: 1 << 20,
        ..Limits::default()
    };
    let again = Request::read(body.as_bytes(), &limits).expect("what was written is a body");
    assert_eq!(again.payload.len(), documents.len(), "elements");
    for (document, again) in documents.iter().zip(&again.payload) {
        let again = again.to_vec();
        let local = |bytes: &[u8]| xml::check(bytes, &limits).map(|it| it.len() > 0);
        assert_eq!(local(document), local(&again));
    }
}

/// Messages of a session, as they are and in pieces.
fn messages(input: &mut Input<'_>) -> u64 {
    let cuts = input.bytes(3);
    let mut bytes = Vec::new();
    let count = input.below(16);
    for _ in 0..count {
        match input.byte() {
            choice @ 0xf0.. => bytes.extend_from_slice(input.bytes(usize::from(choice & 7))),
            _ => drop(put_message(&mut bytes, &http::request(input))),
        }
    }
    let whole = read([&bytes[..]].into_iter());
    assert_eq!(read(cut(&bytes, cuts)), whole, "in pieces");
    whole.0.len() as u64 + 1
}

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<String>, Option<String>) {
    let mut messages = Messages::new(500);
    let mut read = Vec::new();
    for mut piece in pieces {
        loop {
            match messages.read_any(&mut piece) {
                Ok(None) => break,
                Ok(Some(Message::Document(document))) => read.push(format!("{document:?}")),
                Ok(Some(Message::Control(control))) => read.push(format!("{control:?}")),
                Err(error) => return (read, Some(error.to_string())),
            }
        }
        assert!(piece.is_empty());
    }
    (read, None)
}
