//! The ways to a server. Each carries the documents of RFC 7395 both ways, whatever its own framing.

mod bosh;
mod socket;
mod tcp;
mod trunk;
mod websocket;

use std::borrow::Cow;
use std::future::Future;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use megaphone_xmpp::namespace::FRAMING;
use tokio_rustls::rustls::ClientConfig;

pub use self::bosh::Bosh;
pub use self::socket::{Dialler, Target, trusting_all};
pub use self::tcp::Tcp;
pub use self::trunk::{Trunk, TrunkChannel};
pub use self::websocket::WebSocket;

/// How long a document from the server may be, in bytes.
const MAX_DOCUMENT: usize = 16 << 20;

/// A client's way to the server.
pub trait Channel: Send + Sized + 'static {
    /// Opens the stream, or restarts it after SASL. The server's `<open/>` is left out of what
    /// [`recv`](Self::recv) gives: its features come next.
    fn open(&mut self, domain: &str) -> impl Future<Output = Result<(), ChannelError>> + Send;

    /// Sends a document, written as it stands in a stream whose default namespace is `jabber:client`.
    fn send(&mut self, document: &str) -> impl Future<Output = Result<(), ChannelError>> + Send;

    /// The next document. What a call that was dropped has read is given by the next one.
    fn recv(&mut self) -> impl Future<Output = Result<Bytes, ChannelError>> + Send;

    /// Does what keeps the connection of this transport. If it is answered, [`recv`](Self::recv) gives an empty
    /// document for that; says whether it is.
    fn keep_alive(&mut self) -> impl Future<Output = Result<bool, ChannelError>> + Send;

    /// Ends the stream in order.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// Why a channel can't go on.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// The socket, or the name.
    #[error("{0}")]
    Socket(#[from] io::Error),
    /// The server has closed the stream.
    #[error("the server closed the stream{0}")]
    Closed(String),
    /// What came is not the protocol.
    #[error("{0}")]
    Protocol(String),
}

impl ChannelError {
    /// What came is not the protocol.
    pub fn protocol(what: impl Into<String>) -> Self {
        Self::Protocol(what.into())
    }

    /// Closed without a word.
    pub const fn closed() -> Self {
        Self::Closed(String::new())
    }
}

/// Where clients connect to, and how.
#[derive(Debug, Clone)]
pub struct Route {
    /// Makes their sockets.
    pub dialler: Arc<Dialler>,
    /// The path of BOSH and WebSocket requests.
    pub path: Arc<str>,
    /// How the socket is encrypted.
    pub security: Security,
}

/// How a client's socket is encrypted.
#[derive(Debug, Clone)]
pub enum Security {
    /// Not at all.
    Plain,
    /// From its first byte.
    Tls(Arc<ClientConfig>),
    /// After STARTTLS, in an XML stream.
    StartTls(Arc<ClientConfig>),
}

/// Opens a stream where there is no XML stream (RFC 7395, 3.4).
fn open_document(domain: &str) -> String {
    format!("<open xmlns='{FRAMING}' to='{domain}' version='1.0'/>")
}

/// Closes it (RFC 7395, 3.6).
fn close_document() -> String {
    format!("<close xmlns='{FRAMING}'/>")
}

/// Holds the answer to an [`open_document`] to what it has to be.
fn expect_open(answer: &Bytes) -> Result<(), ChannelError> {
    if answer.starts_with(b"<open") {
        Ok(())
    } else {
        Err(ChannelError::protocol(format!(
            "expected <open/>, got {}",
            String::from_utf8_lossy(answer)
        )))
    }
}

/// A document that no stream declares a namespace for: it says its own.
fn standing_alone(document: &str) -> Cow<'_, str> {
    let end = document.find([' ', '/', '>']).unwrap_or(document.len());
    let (name, rest) = document.split_at(end);
    if rest.starts_with(" xmlns=") {
        Cow::Borrowed(document)
    } else {
        Cow::Owned(format!("{name} xmlns='jabber:client'{rest}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_that_stands_alone_has_a_namespace() {
        for (document, alone) in [
            ("<presence/>", "<presence xmlns='jabber:client'/>"),
            (
                "<iq id='1'><a xmlns='b'/></iq>",
                "<iq xmlns='jabber:client' id='1'><a xmlns='b'/></iq>",
            ),
            (
                "<auth xmlns='urn:x'>x</auth>",
                "<auth xmlns='urn:x'>x</auth>",
            ),
        ] {
            assert_eq!(standing_alone(document), alone);
        }
    }
}
