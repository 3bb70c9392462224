//! A response's body.

use super::condition::Condition;
use super::request::Version;
use crate::escape::{write_attribute, write_escaped};
use crate::namespace;
use crate::xml::Root;

/// How the session goes on after a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It goes on.
    #[default]
    Continue,
    /// `type='error'`: the client sends all requests that are unanswered again (XEP-0124, 17.3).
    Error,
    /// `type='terminate'`, at the client's wish.
    Terminate,
    /// `type='terminate'` with a condition (XEP-0124, 17.2).
    TerminateWith(Condition),
    /// `type='terminate'`, `see-other-uri`: the client goes there (XEP-0124, 17.2).
    SeeOtherUri(&'a str),
}

/// The attributes of a response's body; what is `None` isn't written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Response<'a> {
    /// Whether the session ends with it.
    pub outcome: Outcome<'a>,
    /// The session's id. With the next sixteen, the answer that opens a session (XEP-0124, 7.2).
    pub sid: Option<&'a str>,
    /// Seconds a request is held at most.
    pub wait: Option<u32>,
    /// Requests that the client may have unanswered at once.
    pub requests: Option<u32>,
    /// Requests that are held at once.
    pub hold: Option<u32>,
    /// Seconds without a request after which the session ends.
    pub inactivity: Option<u32>,
    /// Seconds between two empty requests at least.
    pub polling: Option<u32>,
    /// Seconds that the client may be silent at most, when it says so.
    pub maxpause: Option<u32>,
    /// The version of BOSH.
    pub ver: Option<Version>,
    /// The domain that answers.
    pub from: Option<&'a str>,
    /// The stream's id, for authentication of old.
    pub authid: Option<&'a str>,
    /// Encodings of bodies that are understood.
    pub accept: Option<&'a str>,
    /// Encodings of text that are understood.
    pub charsets: Option<&'a str>,
    /// Whether the connection manager's own connection is secure.
    pub secure: Option<bool>,
    /// `xmpp:version` (XEP-0206).
    pub xmpp_version: Option<&'a str>,
    /// `xmpp:restartlogic` (XEP-0206): `xmpp:restart` is understood.
    pub restartlogic: Option<bool>,
    /// `xml:lang`.
    pub lang: Option<&'a str>,
    /// The name of a stream among several.
    pub stream: Option<&'a str>,
    /// The highest request that arrived with all before it (XEP-0124, 9.2).
    pub ack: Option<u64>,
    /// The answer after which the client didn't acknowledge the next one (XEP-0124, 9.3).
    pub report: Option<u64>,
    /// Milliseconds since that one was sent.
    pub time: Option<u64>,
}

impl Response<'_> {
    /// Writes the body at the end of `out`.
    ///
    /// `payload` are well-formed documents from ejabberd. As in ejabberd, `xmlns:stream` is declared on
    /// the body, once, when one of them has this prefix, and a stanza without a namespace gets
    /// `jabber:client`; all else stays as it is.
    pub fn write(&self, out: &mut Vec<u8>, payload: &[impl AsRef<[u8]>]) {
        out.extend_from_slice(b"<body xmlns='http://jabber.org/protocol/httpbind'");
        if self.xmpp_version.is_some() || self.restartlogic.is_some() {
            write_attribute(out, "xmlns:xmpp", namespace::XBOSH);
        }
        if payload
            .iter()
            .any(|document| has_stream_prefix(document.as_ref()))
        {
            write_attribute(out, "xmlns:stream", namespace::STREAM);
        }
        self.write_attributes(out);
        let uri = match self.outcome {
            Outcome::SeeOtherUri(uri) => Some(uri),
            _ => None,
        };
        if payload.is_empty() && uri.is_none() {
            out.extend_from_slice(b"/>");
            return;
        }
        out.push(b'>');
        if let Some(uri) = uri {
            out.extend_from_slice(b"<uri>");
            write_escaped(out, uri);
            out.extend_from_slice(b"</uri>");
        }
        for document in payload {
            write_document(out, document.as_ref());
        }
        out.extend_from_slice(b"</body>");
    }

    fn write_attributes(&self, out: &mut Vec<u8>) {
        let (kind, condition) = match self.outcome {
            Outcome::Continue => (None, None),
            Outcome::Error => (Some("error"), None),
            Outcome::Terminate => (Some("terminate"), None),
            Outcome::TerminateWith(condition) => (Some("terminate"), Some(condition.name())),
            Outcome::SeeOtherUri(_) => (Some("terminate"), Some(Condition::SeeOtherUri.name())),
        };
        text(out, "type", kind);
        text(out, "condition", condition);
        text(out, "sid", self.sid);
        number(out, "wait", self.wait.map(u64::from));
        number(out, "requests", self.requests.map(u64::from));
        number(out, "hold", self.hold.map(u64::from));
        number(out, "inactivity", self.inactivity.map(u64::from));
        number(out, "polling", self.polling.map(u64::from));
        number(out, "maxpause", self.maxpause.map(u64::from));
        if let Some(Version { major, minor }) = self.ver {
            write_attribute(out, "ver", &format!("{major}.{minor}"));
        }
        text(out, "from", self.from);
        text(out, "authid", self.authid);
        text(out, "accept", self.accept);
        text(out, "charsets", self.charsets);
        text(out, "secure", self.secure.map(boolean));
        text(out, "xmpp:version", self.xmpp_version);
        text(out, "xmpp:restartlogic", self.restartlogic.map(boolean));
        text(out, "xml:lang", self.lang);
        text(out, "stream", self.stream);
        number(out, "ack", self.ack);
        number(out, "report", self.report);
        number(out, "time", self.time);
    }
}

fn has_stream_prefix(document: &[u8]) -> bool {
    document.starts_with(b"<stream:")
}

/// Without the declaration that the body has, and with the one that it must not take from it.
fn write_document(out: &mut Vec<u8>, document: &[u8]) {
    let Some(root) = Root::new(document) else {
        return;
    };
    if has_stream_prefix(document) {
        root.write_without(out, document, &[("xmlns:stream", namespace::STREAM)]);
        return;
    }
    let unprefixed = !root.name().contains(':');
    if unprefixed
        && root
            .attributes()
            .all(|attribute| attribute.name != b"xmlns")
    {
        let (before, after) = document
            .split_at_checked(root.name_end())
            .unwrap_or((document, b""));
        out.extend_from_slice(before);
        write_attribute(out, "xmlns", namespace::CLIENT);
        out.extend_from_slice(after);
    } else {
        out.extend_from_slice(document);
    }
}

fn text(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        write_attribute(out, name, value);
    }
}

fn number(out: &mut Vec<u8>, name: &str, value: Option<u64>) {
    if let Some(value) = value {
        write_attribute(out, name, &value.to_string());
    }
}

const fn boolean(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}
