//! A request's body.

use std::borrow::Cow;

use super::error::Error;
use super::payload::payload;
use crate::error::XmlError;
use crate::escape::{means, unescape};
use crate::limits::Limits;
use crate::namespace;
use crate::xml::{Attribute, Document, Progress, Scanner, Scope, Until, skip_space, start};

/// The largest request id. XEP-0124 (7.1) has 2^53-1, what a double can count to; there are clients that
/// count further.
pub const MAX_RID: u64 = (1 << 63) - 1;

/// U+FEFF. In an XML stream and in a WebSocket message there is none (RFC 6120, 11.6).
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A version of XEP-0124, `ver`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The part before the dot.
    pub major: u16,
    /// The part after it.
    pub minor: u16,
}

/// The attribute `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// The session ends.
    Terminate,
    /// A recoverable error: all requests that are unanswered are sent again (XEP-0124, 17.3).
    Error,
}

/// A request's body. Of the attributes, those that aren't there are `None`.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The request's id, at most [`MAX_RID`].
    pub rid: u64,
    /// The session's id; `None` in a request that opens a session. An empty one is none, as an empty key is.
    pub sid: Option<Cow<'a, str>>,
    /// The domain that the client wants.
    pub to: Option<Cow<'a, str>>,
    /// The client's address, as it says.
    pub from: Option<Cow<'a, str>>,
    /// `xml:lang`, the language of texts in the session, or of the payload.
    pub lang: Option<Cow<'a, str>>,
    /// `protocol:host:port` to connect to, which a connection manager may ignore.
    pub route: Option<Cow<'a, str>>,
    /// The `Content-Type` that answers have to have.
    pub content: Option<Cow<'a, str>>,
    /// Encodings that the client knows.
    pub charsets: Option<Cow<'a, str>>,
    /// The next key of the sequence (XEP-0124, 15).
    pub key: Option<Cow<'a, str>>,
    /// The first key of a new sequence.
    pub newkey: Option<Cow<'a, str>>,
    /// The name of a stream among several in one session (XEP-0124, 16).
    pub stream: Option<Cow<'a, str>>,
    /// Why the client ends the session.
    pub condition: Option<Cow<'a, str>>,
    /// `xmpp:version` (XEP-0206).
    pub xmpp_version: Option<Cow<'a, str>>,
    /// `xmpp:restart`: the stream has to be opened anew (XEP-0206).
    pub restart: bool,
    /// The version of BOSH. One that can't be read is as one that isn't there.
    pub ver: Option<Version>,
    /// Seconds that a request may be held; a larger number than `u32` has is its largest.
    pub wait: Option<u32>,
    /// Requests that may be held at once.
    pub hold: Option<u32>,
    /// Seconds that the client will be silent (XEP-0124, 12).
    pub pause: Option<u32>,
    /// The highest answer that the client has, with all before it (XEP-0124, 9).
    pub ack: Option<u64>,
    /// `type`; one that isn't known is as one that isn't there.
    pub kind: Option<Type>,
    /// Whether the client wants the connection manager's own connections to be secure. What can't be read
    /// is as if it weren't there.
    pub secure: Option<bool>,
    /// The elements in the body, each a document of its own.
    pub payload: Vec<Document<'a>>,
}

impl<'a> Request<'a> {
    /// Reads the body of an HTTP request, which has to be there whole.
    ///
    /// Namespaces in scope on `<body>` are carried onto the elements that use them. An element that would
    /// be in BOSH's namespace, since it has none of its own, is in `jabber:client` instead, as ejabberd
    /// has it. `limits` hold for each element and for the body's own tag. A byte order mark is no part of
    /// the text (XML 1.0, 4.3.3).
    pub fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self, Error> {
        let (bytes, mut scanner, progress) = first_tag(bytes, limits)?;
        let (inside, rest) = match progress {
            Progress::Unfinished => return Err(XmlError::Unfinished { at: bytes.len() }.into()),
            Progress::RootTag(end) => (Some(end), end),
            Progress::End(end) => (None, end),
        };
        let root = scanner.root();
        let root_namespace = scanner.root_namespace(bytes, &Scope::NONE);
        if root.local(bytes) != b"body" || !means(root_namespace, namespace::HTTP_BIND) {
            return Err(Error::NoBody);
        }
        let mut request = Self::attributes(bytes, &scanner)?;
        let end = match inside {
            None => rest,
            Some(start) => {
                let (default, bindings) = scanner.take_namespaces(bytes);
                let default = default.unwrap_or_default().of(bytes);
                let has_none = default.is_empty() || means(default, namespace::HTTP_BIND);
                let scope = Scope {
                    default: if has_none {
                        namespace::CLIENT.as_bytes()
                    } else {
                        default
                    },
                    text: bytes,
                    bindings: &bindings,
                };
                let name = root.whole(bytes);
                payload(
                    &mut scanner,
                    bytes,
                    start,
                    name,
                    scope,
                    limits,
                    &mut request.payload,
                )?
            }
        };
        let end = skip_space(bytes, end);
        if end < bytes.len() {
            return Err(XmlError::AfterRoot { at: end }.into());
        }
        Ok(request)
    }

    fn attributes(bytes: &'a [u8], scanner: &Scanner) -> Result<Self, Error> {
        let mut request = Self::empty();
        let mut rid = None;
        for attribute in scanner.attributes() {
            let value = attribute.value(bytes);
            if xmpp_attribute(attribute, bytes, scanner) {
                match attribute.name.local(bytes) {
                    b"version" => request.xmpp_version = Some(unescape(value)),
                    b"restart" => request.restart = boolean(value, "xmpp:restart")?,
                    _ => {}
                }
                continue;
            }
            match attribute.name.whole(bytes) {
                b"rid" => rid = Some(number(value, "rid")?),
                b"sid" => request.sid = some(value),
                b"to" => request.to = Some(unescape(value)),
                b"from" => request.from = Some(unescape(value)),
                b"xml:lang" => request.lang = Some(unescape(value)),
                b"route" => request.route = Some(unescape(value)),
                b"content" => request.content = Some(unescape(value)),
                b"charsets" => request.charsets = Some(unescape(value)),
                b"key" => request.key = some(value),
                b"newkey" => request.newkey = some(value),
                b"stream" => request.stream = Some(unescape(value)),
                b"condition" => request.condition = Some(unescape(value)),
                b"ver" => request.ver = version(value),
                b"wait" => request.wait = Some(saturated(number(value, "wait")?)),
                b"hold" => request.hold = Some(saturated(number(value, "hold")?)),
                b"pause" => request.pause = Some(saturated(number(value, "pause")?)),
                b"ack" => request.ack = Some(number(value, "ack")?),
                b"secure" => request.secure = boolean(value, "secure").ok(),
                b"type" => {
                    request.kind = match value {
                        b"terminate" => Some(Type::Terminate),
                        b"error" => Some(Type::Error),
                        _ => None,
                    };
                }
                _ => {}
            }
        }
        request.rid = rid.ok_or(Error::NoRid)?;
        if request.rid > MAX_RID {
            Err(Error::Attribute { name: "rid" })
        } else {
            Ok(request)
        }
    }

    fn empty() -> Self {
        Self {
            rid: 0,
            sid: None,
            to: None,
            from: None,
            lang: None,
            route: None,
            content: None,
            charsets: None,
            key: None,
            newkey: None,
            stream: None,
            condition: None,
            xmpp_version: None,
            restart: false,
            ver: None,
            wait: None,
            hold: None,
            pause: None,
            ack: None,
            kind: None,
            secure: None,
            payload: Vec::new(),
        }
    }
}

/// Scans the first tag; the bytes from there on.
pub(super) fn first_tag<'a>(
    bytes: &'a [u8],
    limits: &Limits,
) -> Result<(&'a [u8], Scanner, Progress), XmlError> {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let bytes = bytes.get(start(bytes)?..).unwrap_or_default();
    let mut scanner = Scanner::new();
    let progress = scanner.scan(bytes, &Scope::NONE, limits, Until::RootTag)?;
    Ok((bytes, scanner, progress))
}

/// Whether the attribute is one of XEP-0206's, in either spelling of the namespace.
fn xmpp_attribute(attribute: &Attribute, bytes: &[u8], scanner: &Scanner) -> bool {
    let prefix = attribute.name.prefix(bytes);
    if prefix.is_empty() || prefix == b"xmlns" {
        return false;
    }
    let namespace = scanner.namespace_of(prefix, bytes);
    means(namespace, namespace::XBOSH) || means(namespace, namespace::XBOSH_MISSPELT)
}

/// The text of an attribute that isn't empty.
fn some(value: &[u8]) -> Option<Cow<'_, str>> {
    (!value.is_empty()).then(|| unescape(value))
}

/// Digits, as XML Schema has them for numbers that are not negative: with white space around them, and a
/// plus sign. More than a `u64` holds is its largest.
fn number(value: &[u8], name: &'static str) -> Result<u64, Error> {
    let value = value.trim_ascii();
    let digits = value.strip_prefix(b"+").unwrap_or(value);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Error::Attribute { name });
    }
    Ok(digits.iter().fold(0_u64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    }))
}

fn saturated(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn boolean(value: &[u8], name: &'static str) -> Result<bool, Error> {
    match value {
        b"true" | b"1" => Ok(true),
        b"false" | b"0" => Ok(false),
        _ => Err(Error::Attribute { name }),
    }
}

fn version(value: &[u8]) -> Option<Version> {
    let (major, minor) = std::str::from_utf8(value).ok()?.split_once('.')?;
    Some(Version {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
    })
}
