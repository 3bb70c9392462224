//! What a stanza of 300 bytes costs in each framing.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use megaphone_xmpp::stream::{Event, Reader, Writer};
use megaphone_xmpp::{Limits, bosh, framing};

const HEADER: &[u8] = b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' to='chat.example.org' version='1.0'>";

/// A message as a client sends it: chat state, receipt, an id.
fn message(attributes: &str, text: &str) -> Vec<u8> {
    let start = format!(
        "<message{attributes} to='romeo@chat.example.org/orchard' type='chat' id='b4c2d9e1-7a35'><body>{text}"
    );
    let end = "</body><active xmlns='http://jabber.org/protocol/chatstates'/>\
        <request xmlns='urn:xmpp:receipts'/></message>";
    let padding = 300 - start.len() - end.len();
    let message = format!("{start}{}{end}", "x".repeat(padding));
    assert_eq!(message.len(), 300);
    message.into_bytes()
}

fn read(reader: &mut Reader, chunk: &[u8], out: &mut Vec<u8>) {
    let mut input = chunk;
    while let Ok(Some(event)) = reader.read(&mut input) {
        if let Event::Document(document) = event {
            let written = framing::put_document(out, &document);
            assert_eq!(written, Ok(()));
        }
    }
}

fn stanza(c: &mut Criterion) {
    let limits = Limits::default();
    let plain = message("", "Wherefore art thou, Romeo? ");
    let with_namespace = message(" xmlns='jabber:client'", "Wherefore art thou, Romeo? ");
    let cyrillic = message("", "Ромео, как мне жаль, что ты Ромео!");
    let mut group = c.benchmark_group("stanza_of_300_bytes");
    group.throughput(Throughput::Bytes(300));
    let mut out = Vec::with_capacity(1024);

    for (name, stanza) in [
        ("stream to trunk", &plain),
        ("stream to trunk, with namespace", &with_namespace),
        ("stream to trunk, Cyrillic", &cyrillic),
    ] {
        let mut reader = Reader::new(limits);
        read(&mut reader, HEADER, &mut out);
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                read(&mut reader, black_box(stanza), &mut out);
                assert!(out.len() > 300);
            });
        });
    }

    let mut reader = Reader::new(limits);
    read(&mut reader, HEADER, &mut out);
    let (first, second) = plain.split_at(150);
    group.bench_function("stream to trunk, in two chunks", |b| {
        b.iter(|| {
            out.clear();
            read(&mut reader, black_box(first), &mut out);
            read(&mut reader, black_box(second), &mut out);
            assert!(out.len() > 300);
        });
    });

    group.bench_function("WebSocket message to trunk", |b| {
        b.iter(|| {
            out.clear();
            if let Ok(document) = framing::check(black_box(&with_namespace), &limits) {
                black_box(document.is("open", "urn:ietf:params:xml:ns:xmpp-framing"));
                assert_eq!(framing::put_document(&mut out, &document), Ok(()));
            }
            assert!(out.len() > 300);
        });
    });

    let mut body = b"<body rid='1573741821' sid='a6b8d3c1e5f70912' \
        xmlns='http://jabber.org/protocol/httpbind'>"
        .to_vec();
    body.extend_from_slice(&with_namespace);
    body.extend_from_slice(b"</body>");
    group.bench_function("BOSH request to trunk", |b| {
        b.iter(|| {
            out.clear();
            if let Ok(request) = bosh::Request::read(black_box(&body), &limits) {
                for document in &request.payload {
                    assert_eq!(framing::put_document(&mut out, document), Ok(()));
                }
            }
            assert!(out.len() > 300);
        });
    });

    let mut messages = framing::Messages::new(65_536);
    let mut message = Vec::new();
    assert_eq!(framing::put_message(&mut message, &with_namespace), Ok(()));
    let mut writer = Writer::new();
    group.bench_function("trunk to stream", |b| {
        b.iter(|| {
            out.clear();
            let mut input = &black_box(&message)[..];
            while let Ok(Some(document)) = messages.read(&mut input) {
                black_box(writer.write(&mut out, document));
            }
            assert!(out.len() > 200);
        });
    });
    group.bench_function("trunk to BOSH response", |b| {
        b.iter(|| {
            out.clear();
            let mut input = &black_box(&message)[..];
            while let Ok(Some(document)) = messages.read(&mut input) {
                bosh::Response::default().write(&mut out, &[document]);
            }
            assert!(out.len() > 300);
        });
    });
    group.finish();
}

criterion_group!(benches, stanza);
criterion_main!(benches);
