//! The scanner, the tree and the streams of XML.
//!
//! A stream is the same documents however it is cut, and holds no memory between two. Each document is one on its own,
//! byte for byte; the tree that is told of it opens and closes in order; and written to a stream again it is read as
//! what it was.
#![no_main]

use libfuzzer_sys::fuzz_target;
use megaphone_fuzz::{Input, count, cut, xml as text};
use megaphone_xmpp::stream::{Event, Reader, Writer};
use megaphone_xmpp::{Limits, framing, xml};

fuzz_target!(|input: &[u8]| {
    let mut input = Input::new(input);
    let choice = input.byte();
    let cuts = input.bytes(4);
    let mut bytes = Vec::new();
    if choice & 1 == 0 {
        bytes.extend_from_slice(text::HEADER.as_bytes());
    }
    while !input.is_empty() {
        if choice & 6 == 0 {
            bytes.extend_from_slice(&text::part(&mut input));
        } else {
            text::element(&mut input, 5, &mut bytes);
        }
    }
    let whole = read([&bytes[..]].into_iter());
    assert_eq!(read(cut(&bytes, cuts)), whole, "in pieces");
    let (documents, _) = whole;
    documents.iter().for_each(|document| check(document));
    write(&documents);
    // What is no document is refused by all in the same way.
    let is_document = xml::check(&bytes, &limits()).is_ok();
    assert_eq!(framing::check(&bytes, &limits()).is_ok(), is_document);
    assert_eq!(
        xml::build(&bytes, &limits(), 10_000, &mut Tree::default()).is_ok(),
        is_document
    );
    let _ = (
        framing::Kind::of(&bytes),
        framing::is_login_step(&bytes),
        framing::has_resource(&bytes),
    );
    count(documents.len() as u64 + 1);
});

fn limits() -> Limits {
    Limits {
        max_document: 3000,
        max_depth: 12,
        max_attributes: 12,
    }
}

/// A stream's documents, and its error.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Option<String>) {
    let mut reader = Reader::new(limits());
    let mut documents = Vec::new();
    for mut piece in pieces {
        loop {
            match reader.read(&mut piece) {
                Ok(None) => break,
                Ok(Some(Event::Document(document))) => documents.push(document.to_vec()),
                Ok(Some(Event::Open(_) | Event::Close)) => {}
                Err(error) => return (documents, Some(error.to_string())),
            }
        }
        assert!(piece.is_empty());
        assert!(
            reader.held() <= 3000 + 2048 + 4096,
            "{} bytes",
            reader.held()
        );
        assert!(
            reader.is_within_document() || reader.unfinished() == 0,
            "memory between documents"
        );
    }
    (documents, None)
}

/// One document of a stream.
fn check(document: &[u8]) {
    let limits = Limits {
        max_document: 64 << 10,
        ..Limits::default()
    };
    let alone = xml::check(document, &limits).expect("a document is one on its own");
    assert_eq!(alone.to_vec(), document, "it has all that it needs");
    assert_eq!(alone.len(), document.len());
    let mut tree = Tree::default();
    match xml::build(document, &limits, 10_000, &mut tree) {
        Ok(()) => assert!(tree.depth == 0 && tree.elements > 0),
        Err(error) => panic!("{error} in {}", String::from_utf8_lossy(document)),
    }
    if xml::build(document, &limits, tree.elements - 1, &mut Tree::default()).is_ok() {
        panic!("{} elements are no more than one less", tree.elements);
    }
}

/// Counts, and fails if an end comes that has no start.
#[derive(Default)]
struct Tree {
    depth: usize,
    elements: usize,
    in_tag: bool,
}

impl xml::Builder for Tree {
    fn start(&mut self, name: &str) {
        assert!(!name.is_empty() && (self.depth > 0 || self.elements == 0));
        self.depth += 1;
        self.elements += 1;
        self.in_tag = true;
    }

    fn attribute(&mut self, name: &str, _value: &str) {
        assert!(self.in_tag && !name.is_empty());
    }

    fn text(&mut self, text: &str) {
        assert!(self.depth > 0 && !text.is_empty());
        self.in_tag = false;
    }

    fn end(&mut self) {
        self.in_tag = false;
        self.depth = self.depth.checked_sub(1).expect("an end has a start");
    }
}

/// Documents by a trunk's messages to another stream, and back.
fn write(documents: &[Vec<u8>]) {
    let mut trunk = Vec::new();
    for document in documents {
        framing::put_message(&mut trunk, document).expect("a document fits a message");
    }
    let mut messages = framing::Messages::new(64 << 10);
    let mut writer = Writer::new();
    let mut stream = Vec::new();
    let mut written = Vec::new();
    for mut piece in trunk.chunks(100) {
        while let Ok(Some(document)) = messages.read(&mut piece) {
            let kind = writer
                .write(&mut stream, document)
                .expect("it begins with a tag");
            match kind {
                framing::Kind::Open(_) | framing::Kind::Close { .. } => return,
                _ => written.push(document.to_vec()),
            }
        }
    }
    assert_eq!(written.len(), documents.len(), "messages");
    let mut reader = Reader::new(Limits {
        max_document: 64 << 10,
        ..Limits::default()
    });
    let mut rest = &stream[..];
    let mut read = Vec::new();
    while let Some(event) = reader
        .read(&mut rest)
        .expect("what was written is a stream")
    {
        if let Event::Document(document) = event {
            read.push(document.to_vec());
        }
    }
    assert_eq!(read.len(), documents.len(), "documents");
    for (document, again) in documents.iter().zip(&read) {
        assert!(tree(document) == tree(again), "another document");
    }
}

/// All that is said of a document.
fn tree(document: &[u8]) -> Vec<String> {
    let limits = Limits {
        max_document: 128 << 10,
        ..Limits::default()
    };
    let mut said = Said::default();
    xml::build(document, &limits, 10_000, &mut said).expect("it is a document");
    said.0
}

#[derive(Default)]
struct Said(Vec<String>);

impl xml::Builder for Said {
    fn start(&mut self, name: &str) {
        self.0.push(format!("<{name}"));
    }

    fn attribute(&mut self, name: &str, value: &str) {
        // Declarations may stand elsewhere; where the namespace changes there is one.
        if name != "xmlns" && !name.starts_with("xmlns:") {
            self.0.push(format!("{name}={value}"));
        }
    }

    fn text(&mut self, text: &str) {
        self.0.push(text.to_owned());
    }

    fn end(&mut self) {
        self.0.push(">".to_owned());
    }
}
