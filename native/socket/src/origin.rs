//! What a stream of version 2 says of itself before its first byte: its PROXY header.

use std::net::SocketAddr;

use bytes::Bytes;
use megaphone_trunk::proxy::{self, Addresses, Command, Header, ProxyError};

pub use megaphone_trunk::proxy::{ChannelBindings, Transport};

/// What a new connection's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// HTTP/1.1: the reader gets one request at a time.
    Http,
    /// Anything: the reader gets the bytes as they come.
    Raw,
}

impl Content {
    pub(crate) fn protocol(self) -> Protocol {
        match self {
            Self::Http => Protocol::Http,
            Self::Raw => Protocol::Raw,
        }
    }
}

/// What a connection carries, and so which module of ejabberd owns it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// `http/1.1`: ejabberd_http.
    Http,
    /// `xmpp-client`: ejabberd_c2s on a raw XML stream.
    XmppClient,
    /// `xmpp-framing`: a session, stanza by stanza.
    XmppFraming,
    /// Bytes, for any owner.
    Raw,
}

impl Protocol {
    /// By its ALPN protocol id (RFC 7301).
    fn from_alpn(alpn: &[u8]) -> Option<Self> {
        match alpn {
            b"http/1.1" => Some(Self::Http),
            b"xmpp-client" => Some(Self::XmppClient),
            b"xmpp-framing" => Some(Self::XmppFraming),
            _ => None,
        }
    }

    pub(crate) fn is_xmpp(self) -> bool {
        matches!(self, Self::XmppClient | Self::XmppFraming)
    }

    pub(crate) fn content(self) -> Content {
        match self {
            Self::Http => Content::Http,
            _ => Content::Raw,
        }
    }
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The client's address.
    pub source: SocketAddr,
    /// The address it connected to.
    pub destination: SocketAddr,
    /// How it speaks to the ECM, if the ECM says so.
    pub transport: Option<Transport>,
    /// Whether it came by TLS.
    pub is_tls: bool,
}

/// A stream's PROXY header, read.
pub(crate) struct Preface {
    /// How many bytes it was.
    pub(crate) length: usize,
    pub(crate) protocol: Protocol,
    /// `None`: the trunk's peer speaks for itself, or does not say for whom.
    pub(crate) origin: Option<Origin>,
    /// What else is said of the client, if there is something.
    pub(crate) once: Option<Box<Once>>,
}

/// What the first caller is told of a client: after that it is not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Once {
    /// What its login can be bound to.
    pub(crate) bindings: ChannelBindings,
    /// The fields of the HTTP request by which it came.
    pub(crate) fields: Option<Bytes>,
    /// The token of its session, which moves here.
    pub(crate) takeover: Option<Bytes>,
    /// Its certificate in DER, if it was verified.
    pub(crate) certificate: Option<Bytes>,
}

/// Why a stream was refused at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrefaceError {
    Proxy(ProxyError),
    /// The header names no protocol, or none that is known here.
    Alpn,
}

impl PrefaceError {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Proxy(error) => error.name(),
            Self::Alpn => "proxy_alpn",
        }
    }
}

/// Reads the header at a stream's start; `None` until it is whole.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<Preface>, PrefaceError> {
    let Some((header, length)) = proxy::read(bytes).map_err(PrefaceError::Proxy)? else {
        return Ok(None);
    };
    let protocol = header.alpn.as_deref().and_then(Protocol::from_alpn);
    let origin = origin(&header);
    let once = Once {
        bindings: header.bindings,
        fields: header.fields,
        takeover: header.takeover,
        certificate: header
            .tls
            .filter(|tls| tls.verified)
            .and_then(|tls| tls.certificate),
    };
    Ok(Some(Preface {
        length,
        protocol: protocol.ok_or(PrefaceError::Alpn)?,
        origin,
        once: (once != Once::default()).then(|| Box::new(once)),
    }))
}

fn origin(header: &Header) -> Option<Origin> {
    match (header.command, &header.addresses) {
        (
            Command::Proxy,
            Addresses::Inet {
                source,
                destination,
            },
        ) => Some(Origin {
            source: *source,
            destination: *destination,
            transport: header.transport,
            is_tls: header.tls.is_some() || header.transport == Some(Transport::Tls),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of protocols in doc/protocol.md has all of them, and no other.
    #[test]
    fn the_document_says_which_protocols_there_are() {
        let document = include_str!("../../../doc/protocol.md");
        let rows = document
            .lines()
            .skip_while(|line| !line.starts_with("| ALPN protocol |"))
            .skip(2)
            .map_while(|line| line.strip_prefix("| `")?.split_once("` |"));
        let protocols: Vec<_> = rows
            .map(|(id, row)| {
                let owner = row.rsplit('|').map(str::trim).find(|cell| !cell.is_empty());
                (Protocol::from_alpn(id.as_bytes()), owner)
            })
            .collect();
        assert_eq!(
            protocols,
            [
                (Some(Protocol::Http), Some("ejabberd_http")),
                (Some(Protocol::XmppClient), Some("ejabberd_c2s")),
                (Some(Protocol::XmppFraming), Some("a Megaphone session")),
            ]
        );
    }
}
