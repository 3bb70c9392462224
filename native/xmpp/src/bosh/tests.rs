use super::*;
use crate::{Limits, XmlError};

const LIMITS: Limits = Limits {
    max_document: 1000,
    max_depth: 10,
    max_attributes: 32,
};
const NS: &str = "xmlns='http://jabber.org/protocol/httpbind'";

fn read(text: &str) -> Result<Request<'_>, Error> {
    Request::read(text.as_bytes(), &LIMITS)
}

fn payload(request: &Request<'_>) -> Vec<String> {
    let text = |document: &crate::Document<'_>| String::from_utf8(document.to_vec()).unwrap();
    request.payload.iter().map(text).collect()
}

#[test]
fn the_request_that_opens_a_session() {
    let request = read(
        "<?xml version='1.0'?>\n<body content='text/xml; charset=utf-8' from='user@example.com' hold='1' \
         rid='1573741820' to='example.com' route='xmpp:example.com:9999' ver='1.6' wait='60' ack='1' \
         xml:lang='en' xmlns='http://jabber.org/protocol/httpbind' secure='true' charsets='UTF-8' \
         newkey='ca393b51b682f61f98e7877d61146407f3d0a770' xmpp:version='1.0' \
         xmlns:xmpp='urn:xmpp:xbosh' stream='x&amp;y' unknown='z'/>\n",
    )
    .unwrap();
    assert_eq!(request.rid, 1_573_741_820);
    assert_eq!(request.sid, None);
    assert_eq!(request.to.as_deref(), Some("example.com"));
    assert_eq!(request.from.as_deref(), Some("user@example.com"));
    assert_eq!(request.lang.as_deref(), Some("en"));
    assert_eq!(request.route.as_deref(), Some("xmpp:example.com:9999"));
    assert_eq!(request.content.as_deref(), Some("text/xml; charset=utf-8"));
    assert_eq!(request.charsets.as_deref(), Some("UTF-8"));
    assert_eq!(
        request.newkey.as_deref(),
        Some("ca393b51b682f61f98e7877d61146407f3d0a770")
    );
    assert_eq!(request.stream.as_deref(), Some("x&y"));
    assert_eq!(request.xmpp_version.as_deref(), Some("1.0"));
    assert_eq!(request.ver, Some(Version { major: 1, minor: 6 }));
    assert_eq!(
        (request.wait, request.hold, request.ack),
        (Some(60), Some(1), Some(1))
    );
    assert_eq!((request.secure, request.restart), (Some(true), false));
    assert!(request.payload.is_empty());
}

#[test]
fn the_other_requests() {
    let body = format!(
        "<body {NS} rid='9007199254740991' sid='a' key='k' pause='120' type='terminate' \
         condition='x'></body>"
    );
    let request = read(&body).unwrap();
    assert_eq!(
        (request.rid, request.pause),
        (9_007_199_254_740_991, Some(120))
    );
    assert_eq!(
        (request.sid.as_deref(), request.key.as_deref()),
        (Some("a"), Some("k"))
    );
    assert_eq!(
        (request.kind, request.condition.as_deref()),
        (Some(Type::Terminate), Some("x"))
    );
    assert_eq!(
        (request.secure, request.ver, request.wait),
        (None, None, None)
    );
    let body = format!("<body {NS} rid='0' type='error' ver='x' wait='99999999999999999999999'/>");
    let request = read(&body).unwrap();
    assert_eq!(
        (request.kind, request.ver, request.wait),
        (Some(Type::Error), None, Some(u32::MAX))
    );
    for value in ["set", ""] {
        let body = format!("<body {NS} rid='1' type='{value}'/>");
        assert_eq!(read(&body).unwrap().kind, None);
    }
}

#[test]
fn restart_in_either_spelling_of_the_namespace_and_under_any_prefix() {
    for (attributes, restart) in [
        ("xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'", true),
        ("xmpp:restart='1' xmlns:xmpp='urn:xmpp:bosh'", true),
        ("xmlns:x='urn:xmpp:xbosh' x:restart='true'", true),
        ("xmpp:restart='false' xmlns:xmpp='urn:xmpp:xbosh'", false),
        ("xmpp:restart='true' xmlns:xmpp='urn:other'", false),
        ("restart='true'", false),
    ] {
        let body = format!("<body {NS} rid='1' {attributes}/>");
        assert_eq!(read(&body).unwrap().restart, restart, "{attributes}");
    }
}

#[test]
fn names_are_what_they_mean() {
    let body = "<b:body xmlns:b='http://jabber.org/protocol/http&#98;ind' rid='1' \
         xmlns:x='urn:xmpp:&#120;bosh' x:restart='true' xml:lang='en' b:rid='2' x:lang='de'>\
         <s:auth xmlns:s='urn:ietf:params:xml:ns:xmpp-sasl'/><b:a/><x:b/></b:body>";
    let request = read(body).unwrap();
    assert_eq!((request.rid, request.restart), (1, true));
    assert_eq!(request.lang.as_deref(), Some("en"));
    let [auth, ..] = &request.payload[..] else {
        panic!("{request:?}");
    };
    assert!(auth.is("auth", "urn:ietf:params:xml:ns:xmpp-sasl"));
    assert_eq!(
        payload(&request)[1..],
        [
            "<b:a xmlns:b='http://jabber.org/protocol/http&#98;ind'/>",
            "<x:b xmlns:x='urn:xmpp:&#120;bosh'/>"
        ]
    );
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_text() {
    for (before, allowed) in [
        ("\u{feff}", true),
        ("\u{feff}<?xml version='1.0' encoding='utf-8'?>\r\n", true),
        ("\u{feff}\n", true),
        ("\u{feff}\u{feff}", false),
        ("\n\u{feff}", false),
        ("<?xml version='1.0'?>\u{feff}", false),
    ] {
        let body = format!("{before}<body {NS} rid='1'><iq/></body>");
        assert_eq!(read(&body).is_ok(), allowed, "{body:?}");
    }
    assert!(read("\u{feff}").is_err());
    // Elsewhere it is text.
    let body = format!("<body {NS} rid='1'>\u{feff}<iq/></body>");
    assert_eq!(payload(&read(&body).unwrap()).len(), 1);
}

/// What the body declares once may be used by each element in it.
#[test]
fn what_is_added_to_elements_has_a_limit() {
    let declared = format!("xmlns:p='{}'", "u".repeat(900));
    let body = |count: usize| {
        format!(
            "<body {NS} rid='1' {declared}>{}</body>",
            "<p:a/>".repeat(count)
        )
    };
    assert!(read(&body(100)).is_ok());
    let error = read(&body(4000)).unwrap_err();
    assert!(matches!(
        error,
        Error::Xml(XmlError::TooManyNamespaces { .. })
    ));
    assert_eq!(error.condition(), Condition::PolicyViolation);
}

#[test]
fn the_payload_is_documents_of_their_own() {
    for (body, documents) in [
        (format!("<body {NS} rid='1'><iq/></body>"), vec!["<iq xmlns='jabber:client'/>"]),
        (
            format!("<body {NS} rid='1'> <iq xmlns='jabber:client'><a xmlns=''/></iq>\r\n<x:y xmlns:x='z'/> </body >"),
            vec!["<iq xmlns='jabber:client'><a xmlns=''/></iq>", "<x:y xmlns:x='z'/>"],
        ),
        (
            format!("<body {NS} rid='1' xmlns:s='u:s' xmlns:t='u:t'><iq s:a=''><s:b/></iq><t:c/></body>"),
            vec!["<iq xmlns='jabber:client' xmlns:s='u:s' s:a=''><s:b/></iq>", "<t:c xmlns:t='u:t'/>"],
        ),
        (
            "<b:body xmlns:b='http://jabber.org/protocol/httpbind' xmlns='jabber:client' rid='1'><iq>\
             <query xmlns='x'/></iq></b:body>".into(),
            vec!["<iq xmlns='jabber:client'><query xmlns='x'/></iq>"],
        ),
        (
            "<b:body xmlns:b='http://jabber.org/protocol/httpbind' rid='1'><iq/></b:body>".into(),
            vec!["<iq xmlns='jabber:client'/>"],
        ),
        (
            "<b:body xmlns:b='http://jabber.org/protocol/httpbind' xmlns='other' rid='1'><iq/></b:body>".into(),
            vec!["<iq xmlns='other'/>"],
        ),
        (format!("<body {NS} rid='1'><a xmlns='x'>ä&lt;<![CDATA[<]]></a></body>"), vec!["<a xmlns='x'>ä&lt;<![CDATA[<]]></a>"]),
    ] {
        assert_eq!(payload(&read(&body).unwrap()), documents, "{body}");
    }
}

#[test]
fn what_means_nothing_refuses_nobody() {
    for attributes in [
        "rid='1'",
        "rid='0001'",
        "rid='+1'",
        "rid=' 1\n'",
        "rid='1' secure='yes'",
        "rid='1' secure=''",
        "rid='1' ver=''",
        "rid='1' type='x'",
        "rid='1' sid='' key='' newkey=''",
        "rid='1' wait='+7' hold=' 1 '",
        "rid='1' unknown='' xml:lang=''",
    ] {
        let body = format!("<body {NS} {attributes}/>");
        let request = read(&body).unwrap_or_else(|error| panic!("{body}: {error}"));
        assert_eq!((request.rid, request.secure), (1, None), "{body}");
        assert_eq!(request.sid, None, "{body}");
        assert_eq!((request.key, request.newkey), (None, None), "{body}");
    }
    let body = format!("<body {NS} rid='{MAX_RID}'/>");
    assert_eq!(read(&body).unwrap().rid, 9_223_372_036_854_775_807);
    for encoding in ["utf8", "ISO-8859-1", "windows-1252", "UTF-16", "x"] {
        let body = format!("<?xml version='1.0' encoding='{encoding}'?><body {NS} rid='1'/>");
        assert!(read(&body).is_ok(), "{body}");
    }
    for inside in [
        "text <a/> and <b/> more",
        "&amp;<a/><![CDATA[<c/>]]><b/>",
        "<![CDATA[]]><a/><![CDATA[</body>]]><![CDATA[]>]]><b/>]]>",
        "\u{e4}<a/>&nbsp;<b/>",
    ] {
        let body = format!("<body {NS} rid='1'>{inside}</body>");
        let request = read(&body).unwrap_or_else(|error| panic!("{body}: {error}"));
        let expected = ["<a xmlns='jabber:client'/>", "<b xmlns='jabber:client'/>"];
        assert_eq!(payload(&request), expected, "{body}");
    }
}

#[test]
fn refused() {
    use XmlError::*;
    let xml = |error: XmlError| Error::Xml(error);
    let attribute = |name| Error::Attribute { name };
    for (body, error) in [
        (String::new(), xml(Unfinished { at: 0 })),
        ("{}".into(), xml(NoElement { at: 0 })),
        ("<body/>".into(), Error::NoBody),
        ("<body xmlns='jabber:client'/>".into(), Error::NoBody),
        (format!("<iq {NS}/>"), Error::NoBody),
        (format!("<body {NS}/>"), Error::NoRid),
        (format!("<body {NS} rid=''/>"), attribute("rid")),
        (format!("<body {NS} rid='-1'/>"), attribute("rid")),
        (format!("<body {NS} rid='1.5'/>"), attribute("rid")),
        (
            format!("<body {NS} rid='9223372036854775808'/>"),
            attribute("rid"),
        ),
        (format!("<body {NS} rid='++1'/>"), attribute("rid")),
        (format!("<body {NS} rid='+'/>"), attribute("rid")),
        (format!("<body {NS} rid='0x1'/>"), attribute("rid")),
        (
            format!("<body {NS} rid='99999999999999999999999999'/>"),
            attribute("rid"),
        ),
        (format!("<body {NS} rid='1' wait='x'/>"), attribute("wait")),
        (format!("<body {NS} rid='1' hold='-1'/>"), attribute("hold")),
        (format!("<body {NS} rid='1' pause=''/>"), attribute("pause")),
        (format!("<body {NS} rid='1' ack='1e3'/>"), attribute("ack")),
        (
            format!("<body {NS} rid='1' xmlns:x='urn:xmpp:xbosh' x:restart=''/>"),
            attribute("xmpp:restart"),
        ),
        (
            format!("<body {NS} rid='1' rid='1'/>"),
            xml(DuplicateAttribute { at: 67 }),
        ),
        (
            format!("<body {NS} rid='1' xmpp:restart='true'/>"),
            xml(UnboundPrefix { at: 79 }),
        ),
        (format!("<body {NS} rid='1'>"), xml(Unfinished { at: 58 })),
        (format!("<body {NS} rid='1'><"), xml(Unfinished { at: 59 })),
        (
            format!("<body {NS} rid='1'></bo"),
            xml(Unfinished { at: 62 }),
        ),
        (
            format!("<body {NS} rid='1'></body"),
            xml(Unfinished { at: 64 }),
        ),
        (
            format!("<body {NS} rid='1'></bodyx>"),
            xml(MismatchedEndTag { at: 58 }),
        ),
        (
            format!("<body {NS} rid='1'></iq>"),
            xml(MismatchedEndTag { at: 58 }),
        ),
        (
            format!("<body {NS} rid='1'><iq></body>"),
            xml(MismatchedEndTag { at: 4 }),
        ),
        (
            format!("<body {NS} rid='1'><iq>"),
            xml(Unfinished { at: 62 }),
        ),
        (
            format!("<body {NS} rid='1'>text"),
            xml(Unfinished { at: 62 }),
        ),
        (
            format!("<body {NS} rid='1'><![CDATA[</body>"),
            xml(Unfinished { at: 74 }),
        ),
        (
            format!("<body {NS} rid='1'><!--x--></body>"),
            xml(Comment { at: 0 }),
        ),
        (
            format!("<body {NS} rid='1'/><body/>"),
            xml(AfterRoot { at: 59 }),
        ),
        (
            format!("<body {NS} rid='1'></body>x"),
            xml(AfterRoot { at: 65 }),
        ),
        (
            format!("<body {NS} rid='1'><a>{}</a></body>", "x".repeat(1000)),
            xml(TooLong { limit: 1000 }),
        ),
        (
            format!("<body {NS} rid='1'>{}</body>", "<a/>".repeat(4097)),
            Error::TooManyElements { limit: 4096 },
        ),
    ] {
        assert_eq!(read(&body).unwrap_err(), error, "{body}");
    }
    assert_eq!(Error::NoRid.condition(), Condition::BadRequest);
    assert_eq!(
        xml(TooLong { limit: 1 }).condition(),
        Condition::PolicyViolation
    );
}

fn written(response: Response<'_>, payload: &[&str]) -> String {
    let mut out = Vec::new();
    response.write(&mut out, payload);
    // What is written is a body that can be read, but for the rid.
    assert_eq!(Request::read(&out, &LIMITS).unwrap_err(), Error::NoRid);
    String::from_utf8(out).unwrap()
}

#[test]
fn responses() {
    let none = Response::default();
    assert_eq!(
        written(none, &[]),
        "<body xmlns='http://jabber.org/protocol/httpbind'/>"
    );
    let opened = Response {
        sid: Some("s'id"),
        wait: Some(60),
        requests: Some(2),
        hold: Some(1),
        inactivity: Some(30),
        polling: Some(2),
        maxpause: Some(120),
        ver: Some(Version {
            major: 1,
            minor: 11,
        }),
        from: Some("example.com"),
        authid: Some("1"),
        accept: Some("deflate,gzip"),
        charsets: Some("UTF-8"),
        secure: Some(true),
        xmpp_version: Some("1.0"),
        restartlogic: Some(true),
        lang: Some("en"),
        stream: Some("a"),
        ack: Some(9_007_199_254_740_991),
        report: Some(2),
        time: Some(3),
        ..none
    };
    let stream = "xmlns:stream='http://etherx.jabber.org/streams'";
    assert_eq!(
        written(
            opened,
            &[&format!(
                "<stream:features {stream}><a xmlns='b'/></stream:features>"
            )]
        ),
        "<body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' \
         xmlns:stream='http://etherx.jabber.org/streams' sid='s&apos;id' wait='60' requests='2' hold='1' \
         inactivity='30' polling='2' maxpause='120' ver='1.11' from='example.com' authid='1' \
         accept='deflate,gzip' charsets='UTF-8' secure='true' xmpp:version='1.0' \
         xmpp:restartlogic='true' xml:lang='en' stream='a' ack='9007199254740991' report='2' time='3'>\
         <stream:features><a xmlns='b'/></stream:features></body>"
    );
    assert_eq!(
        written(
            none,
            &[
                "<iq id='1'/>",
                "<x:y xmlns:x='z'/>",
                "<iq  xmlns=\"jabber:client\"/>",
                "<a xmlns=''/>"
            ]
        ),
        "<body xmlns='http://jabber.org/protocol/httpbind'><iq xmlns='jabber:client' id='1'/>\
         <x:y xmlns:x='z'/><iq  xmlns=\"jabber:client\"/><a xmlns=''/></body>"
    );
}

#[test]
fn responses_that_end_or_repeat() {
    for (outcome, body) in [
        (Outcome::Error, " type='error'/>"),
        (Outcome::Terminate, " type='terminate'/>"),
        (
            Outcome::TerminateWith(Condition::ItemNotFound),
            " type='terminate' condition='item-not-found'/>",
        ),
        (
            Outcome::SeeOtherUri("https://a/?b&c"),
            " type='terminate' condition='see-other-uri'><uri>https://a/?b&amp;c</uri></body>",
        ),
    ] {
        let response = Response {
            outcome,
            ..Response::default()
        };
        let expected = format!("<body xmlns='http://jabber.org/protocol/httpbind'{body}");
        assert_eq!(written(response, &[]), expected);
    }
    let response = Response {
        outcome: Outcome::TerminateWith(Condition::RemoteStreamError),
        ..Response::default()
    };
    let error = crate::Condition::Conflict.document("");
    assert_eq!(
        written(response, &[std::str::from_utf8(&error).unwrap()]),
        "<body xmlns='http://jabber.org/protocol/httpbind' xmlns:stream='http://etherx.jabber.org/streams' \
         type='terminate' condition='remote-stream-error'><stream:error>\
         <conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></body>"
    );
}
