//! What an attacker can make a reader hold: as much as its limits say, and no more.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use megaphone_xmpp::stream::{Event, Reader, StreamError};
use megaphone_xmpp::{Condition, Limits, XmlError, bosh, framing, xml};

const HEADER: &[u8] = b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams'>";
const CHUNK: usize = 16 * 1024;

/// What scanning needs beside the document's bytes, at the default limits: 512 levels, 1024 attributes, 1024
/// prefixes.
const BESIDE: usize = 56 * 1024;

/// Feeds a stream and then `start`, and `more` over and over until there's an error: that, the bytes that
/// went in, and the most that was held.
fn attack(start: &[u8], more: &[u8], limits: Limits) -> (StreamError, usize, usize) {
    let mut reader = Reader::new(limits);
    let mut fed = 0;
    let mut held = 0;
    let repeated = more.repeat(CHUNK.div_ceil(more.len()));
    let chunks = [HEADER, start]
        .into_iter()
        .chain(std::iter::repeat(&repeated[..]));
    for chunk in chunks {
        let mut input = chunk;
        loop {
            match reader.read(&mut input) {
                Ok(None) => break,
                Ok(Some(_)) => {}
                Err(error) => return (error, fed, held.max(reader.held())),
            }
        }
        held = held.max(reader.held());
        fed += chunk.len();
        assert!(fed < 100 << 20, "100 MiB were read without an error");
    }
    unreachable!()
}

#[test]
fn a_stanza_of_100_mib() {
    let limits = Limits::default();
    for (start, more) in [
        (&b"<message><body>"[..], &b"x"[..]),
        (b"<message><body>", b"<a/>"),
        (b"<message><body>", b"&lt;"),
        (b"<message><body>", "ä".as_bytes()),
        (b"<message><body><![CDATA[", b"]"),
        (b"<message to='", b"x"),
        (b"<message ", b" "),
        (b"<", b"x"),
        (b"<message xmlns:", b"x"),
    ] {
        let (error, fed, held) = attack(start, more, limits);
        let limit = limits.max_document;
        let name = String::from_utf8_lossy(start);
        assert_eq!(error, XmlError::TooLong { limit }.into(), "{name}");
        assert!(fed <= HEADER.len() + limit + CHUNK, "{name}: {fed}");
        assert!(held <= limit + BESIDE, "{name}: {held}");
    }
}

#[test]
fn a_header_without_end() {
    let mut reader = Reader::new(Limits::default());
    let mut input: &[u8] = &[&b"<stream:stream a='"[..], &[b'x'; 10_000]].concat();
    let error = reader.read(&mut input).unwrap_err();
    assert_eq!(error.condition(), Condition::PolicyViolation);
    for chunk in ["<?xml ", "<", "</stream:stream", "<stream:stream "] {
        let mut reader = Reader::new(Limits::default());
        let endless = [chunk.as_bytes(), &[b' '; 10_000]].concat();
        let result = endless.chunks(7).try_for_each(|mut chunk| {
            assert!(reader.held() <= 4096 + BESIDE, "{}", reader.held());
            reader.read(&mut chunk).map(|_| ())
        });
        assert!(result.is_err(), "{chunk}");
    }
}

#[test]
fn depth_100_000() {
    let limits = Limits {
        max_document: 1 << 20,
        ..Limits::default()
    };
    for more in [&b"<a>"[..], b"<a xmlns='b'>", b"<a xmlns:c='b'>"] {
        let (error, fed, held) = attack(b"", more, limits);
        assert_eq!(error.condition(), Condition::PolicyViolation, "{error}");
        assert!(fed <= HEADER.len() + CHUNK, "{fed}");
        assert!(held <= CHUNK + BESIDE, "{held}");
    }
    let deep = "<a>".repeat(100_000) + &"</a>".repeat(100_000);
    assert!(matches!(
        xml::check(deep.as_bytes(), &limits),
        Err(XmlError::TooDeep { limit: 512, .. })
    ));
    let body = format!("<body xmlns='http://jabber.org/protocol/httpbind' rid='1'>{deep}</body>");
    let error = bosh::Request::read(body.as_bytes(), &limits).unwrap_err();
    assert_eq!(error.condition(), bosh::Condition::PolicyViolation);
}

#[test]
fn a_billion_laughs() {
    let mut laughs = String::from("<!DOCTYPE lolz [<!ENTITY lol 'lol'>");
    for level in 1..10 {
        let before = format!("&lol{};", level - 1).repeat(10);
        laughs.push_str(&format!("<!ENTITY lol{level} '{before}'>"));
    }
    laughs.push_str("]><lolz>&lol9;</lolz>");
    let error = framing::check(laughs.as_bytes(), &Limits::default()).unwrap_err();
    assert_eq!(error, XmlError::DocumentType { at: 0 });
    let error = bosh::Request::read(laughs.as_bytes(), &Limits::default()).unwrap_err();
    assert_eq!(error, XmlError::DocumentType { at: 0 }.into());
    let declared = format!("<?xml version='1.0'?>{laughs}");
    for text in [&laughs, &declared] {
        let mut input = text.as_bytes();
        let error = Reader::new(Limits::default()).read(&mut input).unwrap_err();
        assert_eq!(error.condition(), Condition::RestrictedXml, "{text}");
    }
    let (error, _, held) = attack(b"<message><body>", b"&lol9;", Limits::default());
    assert_eq!(error.condition(), Condition::RestrictedXml);
    assert!(held <= BESIDE, "{held}");
}

#[test]
fn many_attributes_and_many_prefixes() {
    let limits = Limits {
        max_document: 4 << 20,
        ..Limits::default()
    };
    let attributes =
        |count: usize| -> String { (0..count).map(|number| format!(" a{number}=''")).collect() };
    let error = xml::check(format!("<a{}/>", attributes(100_000)).as_bytes(), &limits).unwrap_err();
    assert!(
        matches!(error, XmlError::TooManyAttributes { limit: 1024, .. }),
        "{error}"
    );
    let nested: String = (0..511)
        .map(|number| format!("<a xmlns:p{number}='u' xmlns:q{number}='u' xmlns:r{number}='u'>"))
        .collect();
    let error = xml::check(nested.as_bytes(), &limits).unwrap_err();
    assert!(
        matches!(error, XmlError::TooManyPrefixes { limit: 1024, .. }),
        "{error}"
    );
}

/// What a connection manager lets pass, whatever it is told to, passes at the other end of the trunk, with
/// what it adds.
#[test]
fn a_trunk_has_room_for_what_is_added() {
    let names = |start: &str, end: &str, count: usize| -> String {
        (0..count)
            .map(|number| format!("{start}{number}{end}"))
            .collect()
    };
    let most = Limits {
        max_document: 1 << 20,
        max_depth: Limits::MOST_DEPTH,
        max_attributes: Limits::MOST_ATTRIBUTES,
    };
    let stanza = |prefixes: usize| {
        let used = names("<p", ":b/>", prefixes);
        let inside = "<d>".repeat(most.max_depth - 1) + &"</d>".repeat(most.max_depth - 1);
        let attributes = names(" a", "=''", most.max_attributes);
        format!("<iq{attributes}>{used}{inside}</iq>")
    };
    let on_trunk = |document: &xml::Document<'_>| {
        let mut nothing = Nothing;
        let limits = Limits::of_trunk(document.len() + 1);
        xml::build(&document.to_vec(), &limits, usize::MAX, &mut nothing)
    };

    let mut reader = Reader::new(most);
    let stream = format!(
        "<stream:stream xmlns='jabber:client' xmlns:stream='{}'{}>{}",
        megaphone_xmpp::namespace::STREAM,
        names(" xmlns:p", "='u'", 200),
        stanza(200)
    );
    let mut input = stream.as_bytes();
    assert!(matches!(reader.read(&mut input), Ok(Some(Event::Open(_)))));
    match reader.read(&mut input) {
        Ok(Some(Event::Document(document))) => assert_eq!(on_trunk(&document), Ok(())),
        other => panic!("{other:?}"),
    }

    let prefixes = most.max_attributes - 2;
    let body = format!(
        "<body xmlns='http://jabber.org/protocol/httpbind' rid='1'{}>{}</body>",
        names(" xmlns:p", "='u'", prefixes),
        stanza(prefixes)
    );
    let request = bosh::Request::read(body.as_bytes(), &most).unwrap();
    assert_eq!(on_trunk(&request.payload[0]), Ok(()));
}

/// Time that grows with the square of what there is of something takes minutes here, if it is compiled as
/// tests are; what it takes is some seconds.
#[test]
fn nothing_costs_by_the_square_of_it() {
    let limits = Limits {
        max_document: 64 << 20,
        max_depth: 1000,
        max_attributes: 200_000,
    };
    let many = |start: &str, end: &str| -> String {
        (0..50_000)
            .map(|number| format!("{start}{number}{end}"))
            .collect()
    };
    let declared = many(" xmlns:p", "='u'");
    let header: String = (0..300)
        .map(|number| format!(" xmlns:h{number}='u'"))
        .collect();
    for document in [
        format!("<a{}/>", many(" a", "=''")),
        format!("<a{declared}>{}</a>", many("<p", ":b/>")),
        format!("<a{declared}>{}</a>", "<b xmlns:q='v'/>".repeat(100_000)),
        format!("<a{header} xmlns:p='u'><b{}/></a>", many(" p:a", "=''")),
        "<a xmlns:p='u'>".repeat(500) + &"<p:longer/>".repeat(50_000) + &"</a>".repeat(500),
    ] {
        let started = Instant::now();
        let mut nothing = Nothing;
        let result = xml::build(document.as_bytes(), &limits, usize::MAX, &mut nothing);
        assert_eq!(result, Ok(()));
        let took = started.elapsed();
        assert!(
            took < Duration::from_secs(10),
            "{took:?} {}",
            &document[..40]
        );
    }
}

/// What nobody has an interest in.
struct Nothing;

impl xml::Builder for Nothing {
    fn start(&mut self, _name: &str) {}
    fn attribute(&mut self, _name: &str, _value: &str) {}
    fn text(&mut self, _text: &str) {}
    fn end(&mut self) {}
}
