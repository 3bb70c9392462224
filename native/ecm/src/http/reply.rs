//! The answers that this program gives itself.

use bytes::Bytes;
use megaphone_http::RequestKind;

use crate::config::Application;

/// An answer that doesn't come from ejabberd. Each one ends the client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// A request did not come whole in time.
    RequestTimeout,
    /// The trunk was lost before ejabberd's answer began.
    TrunkLost,
    /// ejabberd reset the connection before its answer began.
    ConnectionLost,
    /// There is no trunk.
    NoTrunk,
    /// There are too many clients.
    TooManyClients,
    /// There are too many connections of its address, or they come too fast.
    TooManyOfAddress,
}

/// TLS's word for one that can't be served for reasons of the server's own: the fatal alert `internal_error`
/// (RFC 8446, section 6.2). Before a handshake it is in clear.
const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 80];

impl Reply {
    /// The answer to a client of which nothing was read. With TLS it is an alert: a handshake would cost more
    /// than it is worth.
    pub fn before_all(self, application: Application, tls: bool) -> Bytes {
        match (tls, application) {
            (true, _) => Bytes::from_static(ALERT),
            (false, Application::Http) => self.to_bytes(None),
            (false, Application::Xmpp) => self.to_stream_error(),
        }
    }

    /// The answer to an XMPP client: a stream that ends with an error (RFC 6120, section 4.9.3).
    pub fn to_stream_error(self) -> Bytes {
        let condition = match self {
            Self::RequestTimeout => "connection-timeout",
            Self::TrunkLost | Self::ConnectionLost | Self::NoTrunk => "remote-connection-failed",
            Self::TooManyClients => "resource-constraint",
            Self::TooManyOfAddress => "policy-violation",
        };
        Bytes::from(format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams' version='1.0'><stream:error>\
             <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>\
             </stream:stream>"
        ))
    }

    /// The answer's bytes, without a body if the request was HEAD.
    pub fn to_bytes(self, kind: Option<RequestKind>) -> Bytes {
        let (status, retry, text) = match self {
            Self::RequestTimeout => (
                "408 Request Timeout",
                "",
                "the request took too long to arrive",
            ),
            Self::TrunkLost => (
                "502 Bad Gateway",
                "Retry-After: 5\r\n",
                "the connection to the server was lost before it answered; try again",
            ),
            Self::ConnectionLost => (
                "502 Bad Gateway",
                "Retry-After: 5\r\n",
                "the server ended the connection before it answered; try again",
            ),
            Self::NoTrunk => (
                "503 Service Unavailable",
                "Retry-After: 5\r\n",
                "the server can't be reached at the moment; try again",
            ),
            Self::TooManyClients => (
                "503 Service Unavailable",
                "Retry-After: 30\r\n",
                "there are too many clients at the moment; try again",
            ),
            Self::TooManyOfAddress => (
                "429 Too Many Requests",
                "Retry-After: 10\r\n",
                "there are too many connections from this address at the moment; try again",
            ),
        };
        let length = text.len() + 1;
        let body = match kind {
            Some(RequestKind::Head) => String::new(),
            _ => format!("{text}\n"),
        };
        Bytes::from(format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\n{retry}Connection: close\r\n\r\n{body}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reply_is_a_whole_answer() {
        for reply in [
            Reply::RequestTimeout,
            Reply::TrunkLost,
            Reply::ConnectionLost,
            Reply::NoTrunk,
            Reply::TooManyClients,
            Reply::TooManyOfAddress,
        ] {
            for kind in [RequestKind::Other, RequestKind::Head] {
                let mut tracker = megaphone_http::ResponseTracker::new();
                tracker.start(kind);
                let bytes = reply.to_bytes(Some(kind));
                let progress = tracker.follow(&bytes);
                let complete = megaphone_http::Progress::Complete {
                    consumed: bytes.len(),
                };
                assert_eq!(progress, complete, "{reply:?} {kind:?}");
                assert!(tracker.closes());
            }
        }
    }
}
