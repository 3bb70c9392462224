use super::*;
use crate::{Condition, Limits, XmlError};

const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' to='a.example' version='1.0'>";
const LIMITS: Limits = Limits {
    max_document: 1000,
    max_depth: 10,
    max_attributes: 10,
};

/// Events as text, the documents as they are, and the error if there's one.
fn read(reader: &mut Reader, chunks: &[&[u8]]) -> (Vec<String>, Option<StreamError>) {
    let mut events = Vec::new();
    for chunk in chunks {
        let mut input = *chunk;
        loop {
            match reader.read(&mut input) {
                Ok(None) => break,
                Ok(Some(Event::Open(open))) => {
                    events.push(format!("open {}", open.to.unwrap_or_default()));
                }
                Ok(Some(Event::Close)) => events.push("close".into()),
                Ok(Some(Event::Document(document))) => {
                    assert_eq!(document.len(), document.to_vec().len());
                    events.push(String::from_utf8(document.to_vec()).unwrap());
                }
                Err(error) => return (events, Some(error)),
            }
        }
        assert_eq!(input, b"");
    }
    (events, None)
}

/// In one chunk, byte by byte, and cut in two at each place: all the same.
fn read_all_ways(text: &[u8]) -> (Vec<String>, Option<StreamError>) {
    let whole = read(&mut Reader::new(LIMITS), &[text]);
    let bytes: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(read(&mut Reader::new(LIMITS), &bytes), whole);
    for cut in 0..text.len() {
        let (first, second) = text.split_at(cut);
        assert_eq!(
            read(&mut Reader::new(LIMITS), &[first, second]),
            whole,
            "{cut}"
        );
    }
    whole
}

#[test]
fn a_stream_is_documents() {
    let text = format!(
        "{HEADER}\n <iq id='1'/>  <message><body>&lt; ä €</body></message>\
         <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><stream:x a='1'/></stream:stream >"
    );
    let (events, error) = read_all_ways(text.as_bytes());
    assert_eq!(error, None);
    assert_eq!(
        events,
        [
            "open a.example",
            "<iq xmlns='jabber:client' id='1'/>",
            "<message xmlns='jabber:client'><body>&lt; ä €</body></message>",
            "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            "<stream:x xmlns:stream='http://etherx.jabber.org/streams' a='1'/>",
            "close"
        ]
    );
}

#[test]
fn namespaces_of_the_header_are_carried() {
    let text = "<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns=\"jabber:client\" \
        xmlns:a='u:a' xmlns:b=\"it's\" xmlns:c='u:c'>\
        <iq><a:x b:y='1'/></iq><iq xmlns='jabber:client' a:b=''/><c:z xmlns:c='other'/><s:x/>\
        <a:x><y xmlns=''><z/></y></a:x></s:stream>";
    let (events, error) = read_all_ways(text.as_bytes());
    assert_eq!(error, None);
    assert_eq!(
        events,
        [
            "open ",
            "<iq xmlns='jabber:client' xmlns:a='u:a' xmlns:b=\"it's\"><a:x b:y='1'/></iq>",
            "<iq xmlns:a='u:a' xmlns='jabber:client' a:b=''/>",
            "<c:z xmlns:c='other'/>",
            "<s:x xmlns:s='http://etherx.jabber.org/streams'/>",
            "<a:x xmlns:a='u:a'><y xmlns=''><z/></y></a:x>",
            "close"
        ]
    );
}

#[test]
fn headers() {
    let stream = "xmlns:stream='http://etherx.jabber.org/streams'";
    for (header, condition) in [
        (
            format!("<stream:stream {stream} xmlns='jabber:client'>"),
            None,
        ),
        (format!(" \r\n<stream:stream {stream}>"), None),
        (
            "<stream xmlns='http://etherx.jabber.org/streams'>".into(),
            None,
        ),
        (
            "<a:stream xmlns:a='http://etherx.jabber.org/&#x73;treams' xmlns='jabber&#58;client'>"
                .into(),
            None,
        ),
        (
            format!("<stream:stream {stream} xmlns='jabber:client' xmlns:a='u&#10;v'>"),
            Some(Condition::NotWellFormed),
        ),
        (
            format!("<foobar:stream {stream}>"),
            Some(Condition::NotWellFormed),
        ),
        ("<stream:stream>".into(), Some(Condition::NotWellFormed)),
        (
            "<stream xmlns='jabber:client'>".into(),
            Some(Condition::BadNamespacePrefix),
        ),
        (
            "<foo xmlns='jabber:client'>".into(),
            Some(Condition::InvalidNamespace),
        ),
        (
            "<stream:stream xmlns:stream='wrong'>".into(),
            Some(Condition::InvalidNamespace),
        ),
        (
            format!("<stream:stream {stream} xmlns='jabber:server'>"),
            Some(Condition::InvalidNamespace),
        ),
        (
            format!("<stream:foo {stream} xmlns='jabber:client'>"),
            Some(Condition::BadFormat),
        ),
        (
            format!("<stream:stream {stream}/>"),
            Some(Condition::BadFormat),
        ),
        ("GET / HTTP/1.1".into(), Some(Condition::NotWellFormed)),
        ("</stream:stream>".into(), Some(Condition::NotWellFormed)),
        (
            "\u{feff}<stream:stream".into(),
            Some(Condition::NotWellFormed),
        ),
        (
            "<?xml version='1.0' encoding='UTF-16'?>".into(),
            Some(Condition::UnsupportedEncoding),
        ),
        (
            "<?xml version='1.0'?><?xml version='1.0'?>".into(),
            Some(Condition::RestrictedXml),
        ),
        ("<!DOCTYPE a>".into(), Some(Condition::RestrictedXml)),
        (
            format!("<stream:stream {}", "a".repeat(5000)),
            Some(Condition::PolicyViolation),
        ),
    ] {
        let (_, error) = read_all_ways(header.as_bytes());
        assert_eq!(error.map(|error| error.condition()), condition, "{header}");
    }
}

#[test]
fn what_must_not_be_in_a_stream() {
    for (text, condition) in [
        ("x", Condition::BadFormat),
        ("ä", Condition::BadFormat),
        ("&lt;", Condition::BadFormat),
        ("<iq/>x", Condition::BadFormat),
        ("<!-- -->", Condition::RestrictedXml),
        ("<?xml version='1.0'?>", Condition::RestrictedXml),
        ("<![CDATA[x]]>", Condition::NotWellFormed),
        ("</stream:strea>", Condition::NotWellFormed),
        ("</stream:streams>", Condition::NotWellFormed),
        ("</stream:stream x>", Condition::NotWellFormed),
        ("</ stream:stream>", Condition::NotWellFormed),
        ("</iq>", Condition::NotWellFormed),
        ("<iq></message>", Condition::NotWellFormed),
        ("<iq>&nope;</iq>", Condition::RestrictedXml),
    ] {
        let (events, error) = read_all_ways(format!("{HEADER}{text}").as_bytes());
        assert_eq!(
            error.map(|error| error.condition()),
            Some(condition),
            "{text} {events:?}"
        );
    }
}

#[test]
fn a_stanza_may_be_as_long_as_allowed() {
    let stanza = format!("<a>{}</a>", "x".repeat(LIMITS.max_document - 7));
    let (events, error) = read_all_ways(format!("{HEADER}{stanza}<b/>").as_bytes());
    assert_eq!((events.len(), error), (3, None));
    let stanza = format!("<a>{}</a>", "x".repeat(LIMITS.max_document - 6));
    let (events, error) = read_all_ways(format!("{HEADER}{stanza}<b/>").as_bytes());
    assert_eq!(events.len(), 1);
    assert_eq!(error, Some(XmlError::TooLong { limit: 1000 }.into()));
}

#[test]
fn nothing_is_read_after_the_end_and_all_after_a_restart() {
    let mut reader = Reader::new(LIMITS);
    let text = format!("{HEADER}</stream:stream> <<<<");
    let (events, error) = read(&mut reader, &[text.as_bytes(), b"<<<"]);
    assert_eq!((events.len(), error), (2, None));
    reader.restart();
    let (events, error) = read(&mut reader, &[HEADER.as_bytes(), b"<iq/>"]);
    assert_eq!((events.len(), error), (2, None));
}

#[test]
fn an_idle_reader_is_small_and_holds_nothing() {
    assert!(size_of::<Reader>() <= 48, "{}", size_of::<Reader>());
    let mut reader = Reader::new(LIMITS);
    let text = format!("{HEADER}<iq><query/></iq>");
    let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
    assert_eq!(read(&mut reader, &bytes).1, None);
    assert_eq!(reader.held(), 0);
    assert!(!reader.is_within_document());
    assert_eq!(read(&mut reader, &[b"<iq>"]), (vec![], None));
    assert!(reader.is_within_document());
    assert!(reader.held() >= 4, "{}", reader.held());
}

#[test]
fn what_is_written_is_what_plain_ejabberd_sends() {
    let mut writer = Writer::new();
    let mut out = Vec::new();
    for document in [
        "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' id='1' from='a.example' version='1.0' xml:lang='en'/>",
        "<stream:features xmlns:stream='http://etherx.jabber.org/streams'><bind xmlns='b'/></stream:features>",
        "<iq xmlns='jabber:client' type='result' id='x'><a xmlns='jabber:client'/></iq>",
        "<a xmlns='urn:xmpp:sm:3' h='1'/>",
        "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
        "<iq/>",
    ] {
        assert!(
            writer.write(&mut out, document.as_bytes()).is_some(),
            "{document}"
        );
    }
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams' from='a.example' id='1' version='1.0' xml:lang='en'>\
         <stream:features><bind xmlns='b'/></stream:features>\
         <iq type='result' id='x'><a xmlns='jabber:client'/></iq>\
         <a xmlns='urn:xmpp:sm:3' h='1'/></stream:stream>"
    );
    assert_eq!(writer.write(&mut Vec::new(), b"text"), None);
}

#[test]
fn an_error_before_the_header_gets_one() {
    let mut out = Vec::new();
    Writer::new().write(&mut out, &Condition::NotWellFormed.document(""));
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams' version='1.0'><stream:error>\
         <not-well-formed xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
    );
}
