//! What has to hold for every input and every way in which it's cut.
//!
//! A stream means the same in any chunking; documents that are written to a stream, a body or messages
//! are the documents that are read from it; the namespaces of each name stay what they were; and nothing
//! that anybody sends makes a reader panic.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use megaphone_xmpp::stream::{Event, Reader, StreamError, Writer};
use megaphone_xmpp::{Limits, XmlError, bosh, escape, framing, namespace, xml};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn limits() -> Limits {
    Limits {
        max_document: 3000,
        max_depth: 12,
        max_attributes: 12,
    }
}

const HEADER: &str = "<stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:p='urn:p' xmlns:q=\"urn:q'\">";

/// An element whose prefixes are those of `HEADER`, declared again or not.
#[derive(Clone, Debug)]
struct Element {
    prefix: &'static str,
    name: &'static str,
    declared: Vec<(&'static str, &'static str)>,
    attributes: Vec<(&'static str, String)>,
    children: Vec<Node>,
}

#[derive(Clone, Debug)]
enum Node {
    Element(Element),
    Text(String),
    Cdata(String),
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,40}",
        "[a-zäß€漢😀\\n\\t\\r\\u{85}\\u{fffd}]{0,12}",
        "[<>&'\"\\]]{0,6}",
    ]
}

fn element() -> impl Strategy<Value = Element> {
    let tag = |children: BoxedStrategy<Vec<Node>>| {
        let declared = select(vec![
            vec![],
            vec![],
            vec![("", "jabber:client")],
            vec![("", "urn:other")],
            vec![("", "")],
            vec![("p", "urn:r"), ("", "urn:p")],
            vec![("stream", "urn:s"), ("q", "urn:&amp;")],
        ]);
        let attribute = (
            select(vec!["to", "id", "p:a", "q:b", "xml:lang", "stream:c"]),
            text(),
        );
        (
            select(vec!["", "", "", "p", "q", "stream"]),
            select(vec!["message", "iq", "a", "b-1", "ä.漢"]),
            declared,
            vec(attribute, 0..3),
            children,
        )
            .prop_map(|(prefix, name, declared, mut attributes, children)| {
                attributes.sort();
                attributes.dedup_by(|left, right| left.0 == right.0);
                Element {
                    prefix,
                    name,
                    declared,
                    attributes,
                    children,
                }
            })
    };
    tag(Just(vec![]).boxed()).prop_recursive(5, 24, 4, move |inner| {
        let child = prop_oneof![
            2 => inner.prop_map(Node::Element),
            1 => text().prop_map(Node::Text),
            1 => text().prop_map(|text| Node::Cdata(text.replace("]]>", ""))),
        ];
        tag(vec(child, 0..4).boxed())
    })
}

impl Element {
    fn write(&self, out: &mut String) {
        let name = qualified(self.prefix, self.name);
        out.push_str(&format!("<{name}"));
        for (prefix, uri) in &self.declared {
            out.push_str(&format!(" {}='{uri}'", qualified_declaration(prefix)));
        }
        for (name, value) in &self.attributes {
            out.push_str(&format!("\n{name} = \"{}\"", escape(value)));
        }
        if self.children.is_empty() {
            out.push_str(" />");
            return;
        }
        out.push('>');
        for child in &self.children {
            match child {
                Node::Element(element) => element.write(out),
                Node::Text(text) => out.push_str(&escape(text)),
                Node::Cdata(text) => out.push_str(&format!("<![CDATA[{text}]]>")),
            }
        }
        out.push_str(&format!("</{name} >"));
    }
}

fn qualified(prefix: &str, name: &str) -> String {
    match prefix {
        "" => name.into(),
        prefix => format!("{prefix}:{name}"),
    }
}

fn qualified_declaration(prefix: &str) -> String {
    match prefix {
        "" => "xmlns".into(),
        prefix => format!("xmlns:{prefix}"),
    }
}

/// The namespace and local name of each element and attribute, and all text, in order, by a reader of
/// its own that knows only what this file writes.
fn meaning(document: &str, around: &[(&str, &str)]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut scopes: Vec<HashMap<String, String>> = vec![
        around
            .iter()
            .map(|(prefix, uri)| (prefix.to_string(), uri.to_string()))
            .collect(),
    ];
    let mut rest = document;
    while let Some(start) = rest.find('<') {
        if start > 0 {
            names.push(rest[..start].into());
        }
        rest = &rest[start..];
        if let Some(cdata) = rest.strip_prefix("<![CDATA[") {
            let end = cdata.find("]]>").unwrap();
            names.push(cdata[..end].into());
            rest = &cdata[end + 3..];
            continue;
        }
        let end = rest.find('>').unwrap();
        let tag = &rest[1..end];
        rest = &rest[end + 1..];
        if tag.starts_with('/') {
            scopes.pop();
            continue;
        }
        let empty = tag.ends_with('/');
        let mut scope = scopes.last().unwrap().clone();
        let (name, attributes) = tag
            .trim_end_matches('/')
            .split_once(char::is_whitespace)
            .unwrap_or((tag.trim_end_matches('/'), ""));
        let mut pairs = Vec::new();
        let mut left = attributes.trim();
        while let Some((name, value)) = left.split_once('=') {
            let value = value.trim_start();
            let quote = value.chars().next().unwrap();
            let (value, after) = value[1..].split_once(quote).unwrap();
            pairs.push((name.trim(), value));
            left = after.trim_start();
        }
        for (name, value) in &pairs {
            if *name == "xmlns" {
                scope.insert(String::new(), value.to_string());
            } else if let Some(prefix) = name.strip_prefix("xmlns:") {
                scope.insert(prefix.into(), value.to_string());
            }
        }
        let (prefix, local) = name.split_once(':').unwrap_or(("", name));
        names.push(format!(
            "{{{}}}{local}",
            scope.get(prefix).cloned().unwrap_or_default()
        ));
        for (name, value) in &pairs {
            match name.split_once(':') {
                Some(("xmlns", _)) => {}
                Some((prefix, local)) => {
                    names.push(format!("@{{{}}}{local}={value}", scope[prefix]));
                }
                None if *name == "xmlns" => {}
                None => names.push(format!("@{name}={value}")),
            }
        }
        if !empty {
            scopes.push(scope);
        }
    }
    assert_eq!(scopes.len(), 1);
    names
}

const AROUND: &[(&str, &str)] = &[
    ("", namespace::CLIENT),
    ("stream", namespace::STREAM),
    ("p", "urn:p"),
    ("q", "urn:q'"),
    ("xml", namespace::XML),
];

const NOTHING_AROUND: &[(&str, &str)] = &[("xml", namespace::XML)];

/// Feeds `bytes` in chunks of these sizes, over and over; the events as text, and the error.
fn read(bytes: &[u8], sizes: &[usize], reader: &mut Reader) -> (Vec<String>, Option<StreamError>) {
    let mut events = Vec::new();
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let (mut chunk, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
        rest = after;
        loop {
            match reader.read(&mut chunk) {
                Ok(None) => break,
                Ok(Some(Event::Document(document))) => {
                    events.push(String::from_utf8(document.to_vec()).unwrap());
                }
                Ok(Some(other)) => events.push(format!("{other:?}")),
                Err(error) => return (events, Some(error)),
            }
        }
        assert!(chunk.is_empty());
        assert!(reader.held() <= 3000 + 2048, "{}", reader.held());
    }
    (events, None)
}

fn stream(elements: &[Element]) -> String {
    let mut text = format!("<?xml version='1.0'?>{HEADER}");
    for element in elements {
        element.write(&mut text);
        text.push_str(" \n");
    }
    text + "</stream:stream>"
}

/// What nearly is XML: pieces of it in any order.
fn nearly_xml() -> impl Strategy<Value = Vec<u8>> {
    let piece = select(vec![
        "<",
        ">",
        "/",
        "/>",
        "</",
        "<a",
        "<a>",
        "</a>",
        "<p:a",
        "<!--",
        "<![CDATA[",
        "]]>",
        "]",
        "<?xml",
        "?>",
        "<!DOCTYPE",
        " ",
        "\n",
        "=",
        "'",
        "\"",
        "a='b'",
        "xmlns='u'",
        "xmlns:p='u'",
        "p:b=''",
        "&",
        "&lt;",
        "&#",
        "&#x41;",
        ";",
        "x",
        ":",
        "ä",
        "\u{ffff}",
        "\0",
        HEADER,
        "</stream:stream>",
        "<body xmlns='http://jabber.org/protocol/httpbind' rid='1'>",
        "</body>",
        "<iq>",
        "</iq>",
        "version='1.0'",
    ]);
    let piece = prop_oneof![
        20 => piece.prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..4),
    ];
    vec(piece, 0..30).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Any chunking of a stream gives the same documents, each of them is well-formed alone, and its
    /// names are in the namespaces that they were in within the stream.
    #[test]
    fn a_stream_is_the_same_documents_in_any_chunks(
        elements in vec(element(), 1..5),
        sizes in vec(1..80_usize, 1..10),
    ) {
        let text = stream(&elements);
        let (events, error) = read(text.as_bytes(), &[text.len()], &mut Reader::new(limits()));
        let (in_chunks, error_in_chunks) = read(text.as_bytes(), &sizes, &mut Reader::new(limits()));
        prop_assert_eq!(&events, &in_chunks);
        prop_assert_eq!(&error, &error_in_chunks);
        let Some(error) = error else {
            prop_assert_eq!(events.len(), elements.len() + 2);
            for (element, document) in elements.iter().zip(&events[1..]) {
                let mut written = String::new();
                element.write(&mut written);
                let alone = xml::check(document.as_bytes(), &Limits::default()).unwrap();
                let bytes = alone.to_vec();
                prop_assert_eq!(std::str::from_utf8(&bytes).unwrap(), document);
                prop_assert_eq!(meaning(document, NOTHING_AROUND), meaning(&written, AROUND));
            }
            return Ok(());
        };
        // Attributes that are one by their namespace, and documents that are too long, are refused.
        let StreamError::Xml(error) = error else { panic!("{error}") };
        prop_assert!(
            matches!(error, XmlError::DuplicateAttribute { .. } | XmlError::TooLong { .. }),
            "{error}"
        );
    }

    /// Documents through a trunk to a stream, and back: what they say stays the same.
    #[test]
    fn documents_to_a_stream_and_back(
        elements in vec(element(), 1..5),
        sizes in vec(1..80_usize, 1..10),
    ) {
        let (events, error) = read(stream(&elements).as_bytes(), &[100], &mut Reader::new(limits()));
        prop_assume!(error.is_none());
        let documents = &events[1..events.len() - 1];

        let mut trunk = Vec::new();
        framing::put_message(&mut trunk, b"<open xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>").unwrap();
        for document in documents {
            framing::put_message(&mut trunk, document.as_bytes()).unwrap();
        }
        let mut messages = framing::Messages::new(10_000);
        let mut writer = Writer::new();
        let mut out = Vec::new();
        let mut rest = &trunk[..];
        for size in sizes.iter().cycle() {
            let (mut chunk, after) = rest.split_at((*size).min(rest.len()));
            while let Some(document) = messages.read(&mut chunk).unwrap() {
                writer.write(&mut out, document).unwrap();
            }
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        writer.write(&mut out, b"<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>").unwrap();

        let (read_again, error) = read(&out, &sizes, &mut Reader::new(limits()));
        prop_assert_eq!(error, None);
        prop_assert_eq!(read_again.len(), events.len());
        for (document, again) in documents.iter().zip(&read_again[1..]) {
            prop_assert_eq!(meaning(document, NOTHING_AROUND), meaning(again, NOTHING_AROUND));
        }
    }

    /// Documents in a request's body and in a response's stay what they are.
    #[test]
    fn documents_in_a_body(elements in vec(element(), 0..5)) {
        let (events, error) = read(stream(&elements).as_bytes(), &[100], &mut Reader::new(limits()));
        prop_assume!(error.is_none());
        let documents = &events[1..events.len() - 1];
        let mut body = Vec::new();
        bosh::Response::default().write(&mut body, documents);
        let body = String::from_utf8(body).unwrap().replacen("<body", "<body rid='1'", 1);
        let request = bosh::Request::read(body.as_bytes(), &Limits::default()).unwrap();
        prop_assert_eq!(request.payload.len(), documents.len());
        for (document, again) in documents.iter().zip(&request.payload) {
            let again = String::from_utf8(again.to_vec()).unwrap();
            prop_assert_eq!(meaning(document, NOTHING_AROUND), meaning(&again, NOTHING_AROUND));
        }
    }

    /// Whatever comes, in any chunks, no reader panics, and the stream's says the same each time.
    #[test]
    fn no_input_panics(input in nearly_xml(), sizes in vec(1..20_usize, 1..6), opened in any::<bool>()) {
        let input = if opened {
[HEADER.as_bytes(), &input].concat()
} else {
input
};
        let whole = read(&input, &[input.len().max(1)], &mut Reader::new(limits()));
        prop_assert_eq!(read(&input, &sizes, &mut Reader::new(limits())), whole);
        let checked = xml::check(&input, &limits());
        prop_assert_eq!(framing::check(&input, &limits()).is_ok(), checked.is_ok());
        drop(bosh::Request::read(&input, &limits()));
        let body = [&b"<body xmlns='http://jabber.org/protocol/httpbind' rid='1'>"[..], &input, b"</body>"];
        drop(bosh::Request::read(&body.concat(), &limits()));
        framing::Kind::of(&input);
        Writer::new().write(&mut Vec::new(), &input);
        bosh::Response::default().write(&mut Vec::new(), &[&input]);
        let mut rest = &input[..];
        let mut messages = framing::Messages::new(1000);
        while let Ok(Some(_)) = messages.read(&mut rest) {}
    }

    /// What is escaped is well-formed as text and in either quote, and means what it was.
    #[test]
    fn escaped_text_means_what_it_was(text in any::<String>()) {
        let escaped = escape(&text);
        let document = format!("<a b='{escaped}' c=\"{escaped}\">{escaped}</a>");
        let checked = xml::check(document.as_bytes(), &Limits::default()).unwrap();
        let meant: String = text
            .chars()
            .map(|character| match character {
                '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'.. => character,
                _ => '\u{fffd}',
            })
            .collect();
        prop_assert_eq!(checked.attribute("b").unwrap(), meant.as_str());
        prop_assert_eq!(checked.attribute("c").unwrap(), meant.as_str());
    }
}
