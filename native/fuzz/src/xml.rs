//! XML as clients say it, and nearly so.

use crate::{Input, http};

/// A stream's header that declares two more prefixes.
pub const HEADER: &str = "<stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' xmlns:p='urn:p' xmlns:q=\"urn:q'\">";

const PARTS: &[&str] = &[
    "<message to='a@b' type='chat'><body>hello</body></message>",
    "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
    "<presence/>",
    "<r xmlns='urn:xmpp:sm:3'/>",
    "<a>",
    "</a>",
    "<p:a>",
    "</p:a>",
    "<p:a/>",
    "<q:b p:c='d'/>",
    "<stream:features/>",
    "<stream:error>",
    "</stream:error>",
    "</stream:stream>",
    HEADER,
    "<?xml version='1.0'?>",
    "<?xml version='1.0' encoding='UTF-8' standalone=\"yes\"?>",
    "<!-- x -->",
    "<![CDATA[",
    "<![CDATA[<a>&lt;]]>",
    "]]>",
    "<!DOCTYPE a>",
    "<?pi?>",
    "<a xmlns='urn:a'>",
    "<a xmlns=''>",
    "<a xmlns:p='urn:r' p:b='1' b='2'>",
    "<a b='1' b='2'/>",
    "<a xmlns:x='urn:p' p:b='1' x:b='2'/>",
    "<a b='&lt;&#10;&#x1F600;\t\r\n'>",
    "<a b=\"'\" xml:lang='en'>",
    "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a' version='1.0'/>",
    "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
    "&amp;",
    "&#65;",
    "&#x0;",
    "&nbsp;",
    "text",
    "ä€\u{1F600}",
    "\r\n",
    " ",
    "<",
    ">",
    "/>",
    "'",
    "=",
    "xmlns:p=''",
    " xmlns:a='urn:a'",
    "\u{feff}",
];

/// One to four parts of documents, or any bytes.
pub fn part(input: &mut Input<'_>) -> Vec<u8> {
    http::text(input, PARTS)
}

/// Parts up to the input's end, or so many of them.
pub fn parts(input: &mut Input<'_>, most: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for _ in 0..most {
        if input.is_empty() {
            break;
        }
        text.extend_from_slice(&part(input));
    }
    text
}

/// An element that is well-formed on its own but for names that are used twice, and prefixes `p` and `q` that have
/// to be declared around it.
pub fn element(input: &mut Input<'_>, depth: usize, out: &mut Vec<u8>) {
    const NAMES: &[&str] = &[
        "message", "a", "p:a", "q:b", "stream:x", "body", "ä.漢", "_-1",
    ];
    const DEFAULTS: &[&str] = &[
        "",
        "",
        " xmlns='jabber:client'",
        " xmlns='urn:a&amp;b'",
        " xmlns=''",
    ];
    const ATTRIBUTES: [&str; 8] = [
        " to='a@b/c'",
        " xml:lang=\"en\"",
        " id = '&lt;1&#10;'",
        "\n p:x='\t'",
        " q:x=\"'\"",
        " xmlns:p='urn:r'",
        " xmlns:n='urn:n' n:o='>'",
        " ",
    ];
    const TEXTS: &[&str] = &[
        "hello",
        "&lt;",
        "&#x1F600;",
        "<![CDATA[<a>&]]>",
        "<![CDATA[]]]]>",
        "\r\n",
        "\r",
        "ä€",
        " ",
        "]]",
        "'\"",
        "&amp;&#13;",
    ];
    let name = input.pick(NAMES);
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(input.pick(DEFAULTS).as_bytes());
    let which = input.byte() & input.byte();
    for (bit, attribute) in ATTRIBUTES.iter().enumerate() {
        if which >> bit & 1 == 1 {
            out.extend_from_slice(attribute.as_bytes());
        }
    }
    let children = if depth == 0 { 0 } else { input.below(4) };
    if children == 0 {
        out.extend_from_slice(b"/>");
        return;
    }
    out.push(b'>');
    for _ in 0..children {
        match input.byte() {
            ..0x80 => element(input, depth - 1, out),
            _ => out.extend_from_slice(input.pick(TEXTS).as_bytes()),
        }
    }
    out.extend_from_slice(b"</");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b">");
}
