//! The terms of documents, beside those of ejabberd's own parser.
#![no_main]

use libfuzzer_sys::fuzz_target;
use megaphone_fuzz::erlang::{Batch, term};
use megaphone_fuzz::{Input, count, xml as text};
use megaphone_xmpp::{Limits, xml};

fuzz_target!(|input: &[u8]| {
    let mut input = Input::new(input);
    let mut batch = Batch::new(b'd');
    while !input.is_empty() {
        let choice = input.byte();
        let mut bytes = Vec::new();
        if choice & 7 == 0 {
            bytes = text::parts(&mut input, 4);
        } else {
            bytes.extend_from_slice(b"<a xmlns:p='urn:p' xmlns:q='urn:q'>");
            text::element(&mut input, 4, &mut bytes);
            bytes.extend_from_slice(b"</a>");
        }
        if choice & 0x30 == 0 && !bytes.is_empty() {
            let at = usize::from(input.byte()) % bytes.len();
            bytes[at] = input.byte();
        }
        batch.add(b' ', &bytes, &term_of(&bytes));
    }
    count(batch.compare());
});

/// The document's term, or `refused`.
fn term_of(bytes: &[u8]) -> Vec<u8> {
    let mut tree = Tree::default();
    let mut out = Vec::new();
    match xml::build(bytes, &Limits::default(), 10_000, &mut tree) {
        Ok(()) => out = tree.root,
        Err(_) => term::atom(&mut out, "refused"),
    }
    out
}

/// An element whose end has not come.
struct Element {
    name: String,
    attributes: Vec<u8>,
    attribute_count: usize,
    children: Vec<u8>,
    child_count: usize,
}

#[derive(Default)]
struct Tree {
    open: Vec<Element>,
    root: Vec<u8>,
}

impl xml::Builder for Tree {
    fn start(&mut self, name: &str) {
        self.open.push(Element {
            name: name.to_owned(),
            attributes: Vec::new(),
            attribute_count: 0,
            children: Vec::new(),
            child_count: 0,
        });
    }

    fn attribute(&mut self, name: &str, value: &str) {
        let element = self.open.last_mut().expect("an attribute has an element");
        element.attribute_count += 1;
        term::tuple(&mut element.attributes, 2);
        term::binary(&mut element.attributes, name.as_bytes());
        term::binary(&mut element.attributes, value.as_bytes());
    }

    fn text(&mut self, text: &str) {
        let element = self.open.last_mut().expect("text has an element");
        element.child_count += 1;
        term::tuple(&mut element.children, 2);
        term::atom(&mut element.children, "xmlcdata");
        term::binary(&mut element.children, text.as_bytes());
    }

    fn end(&mut self) {
        let element = self.open.pop().expect("an end has a start");
        let out = match self.open.last_mut() {
            Some(parent) => {
                parent.child_count += 1;
                &mut parent.children
            }
            None => &mut self.root,
        };
        term::tuple(out, 4);
        term::atom(out, "xmlel");
        term::binary(out, element.name.as_bytes());
        term::list(out, element.attribute_count);
        out.extend_from_slice(&element.attributes);
        term::nil(out);
        term::list(out, element.child_count);
        out.extend_from_slice(&element.children);
        term::nil(out);
    }
}
