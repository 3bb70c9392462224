//! What a header says.

use std::net::SocketAddr;

use bytes::Bytes;

/// A PROXY header.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Header {
    /// Whom the addresses speak for.
    pub command: Command,
    /// Where the connection comes from and went to.
    pub addresses: Addresses,
    /// ALPN: what follows, an ALPN protocol id such as `http/1.1`.
    pub alpn: Option<Bytes>,
    /// AUTHORITY: the host that the client asked for, by SNI or Host.
    pub authority: Option<String>,
    /// UNIQUE_ID: the sender's name for the connection, at most 128 bytes.
    pub unique_id: Option<Bytes>,
    /// SSL: the client came by TLS.
    pub tls: Option<Tls>,
    /// 0xE0: how the client speaks to the sender; `None` for other values too.
    pub transport: Option<Transport>,
    /// 0xE1 to 0xE3: what a login can be bound to.
    pub bindings: ChannelBindings,
    /// 0xE4: the fields of the HTTP request by which a WebSocket client came, each a line that ends with CRLF.
    pub fields: Option<Bytes>,
    /// 0xE5: the token of the session that moves to this stream, at most
    /// [`MAX_TAKEOVER`](super::MAX_TAKEOVER) bytes; an empty one asks whether sessions can.
    pub takeover: Option<Bytes>,
}

/// Whom a header speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Command {
    /// The sender itself, say to ask for its health: the addresses are to be ignored.
    Local,
    /// A client.
    #[default]
    Proxy,
}

/// The two ends of the client's connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Addresses {
    /// Unknown, or of a family that means nothing here.
    #[default]
    Unspecified,
    /// Two IP addresses with ports, both IPv4 or both IPv6.
    Inet {
        /// The client.
        source: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
    },
    /// Unix sockets: paths of up to 108 bytes.
    Unix {
        /// The client's.
        source: Bytes,
        /// The one it connected to.
        destination: Bytes,
    },
}

/// The client's TLS connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// The version's name, such as `TLSv1.3`.
    pub version: Option<String>,
    /// The common name of the client's certificate.
    pub common_name: Option<String>,
    /// The cipher's name, such as `ECDHE-RSA-AES128-GCM-SHA256`.
    pub cipher: Option<String>,
    /// What the sender's certificate was signed with, such as `RSA-SHA256`.
    pub signature_algorithm: Option<String>,
    /// The key of the sender's certificate, such as `RSA2048`.
    pub key_algorithm: Option<String>,
    /// Whether the client showed a certificate that was verified.
    pub verified: bool,
    /// The client's certificate in DER, at most [`MAX_CERTIFICATE`](super::MAX_CERTIFICATE) bytes.
    pub certificate: Option<Bytes>,
}

/// What both ends of the client's TLS connection know, and nobody between them can bring about: a login that
/// is bound to it (RFC 5802, section 6) is worth nothing on another connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelBindings {
    /// `tls-exporter` (RFC 9266).
    pub exporter: Option<[u8; 32]>,
    /// `tls-server-end-point` (RFC 5929, section 4): the hash of the certificate that the client was shown.
    pub end_point: Option<Bytes>,
    /// `tls-unique` (RFC 5929, section 3), of TLS 1.2: what the first `Finished` of the handshake says.
    pub unique: Option<[u8; 12]>,
}

/// How a client speaks to the sender of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Plain TCP.
    Tcp,
    /// TLS.
    Tls,
    /// WebSocket, RFC 6455.
    WebSocket,
    /// BOSH, XEP-0124.
    Bosh,
}

impl Transport {
    /// The TLV's value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::WebSocket => "websocket",
            Self::Bosh => "bosh",
        }
    }

    pub(super) fn from_name(name: &[u8]) -> Option<Self> {
        [Self::Tcp, Self::Tls, Self::WebSocket, Self::Bosh]
            .into_iter()
            .find(|transport| transport.name().as_bytes() == name)
    }
}
