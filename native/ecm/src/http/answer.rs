//! What the answers that this program gives itself have in common, and what it refuses.
//!
//! A request is refused for a reason alone: whatever nothing here depends on (Accept, Content-Type, Expect,
//! TE, Sec-WebSocket-Extensions, codings that are none, unknown fields and attributes) has no say, since
//! clients that other servers serve write anything there. What can't be read at all is refused by
//! [`megaphone_http::RequestError`], which lists its reasons; these are the others:
//!
//! | refused | status | why |
//! |---|---|---|
//! | at a path of WebSocket's: a method that is not GET, HEAD or OPTIONS | 405 | there is nothing to send to |
//! | `Upgrade` without `upgrade` in `Connection` | 426 | a proxy that does not know WebSocket passes it on, and what follows would reach it as HTTP |
//! | an upgrade in HTTP/1.0 | 426 | RFC 9110, 7.8: it has to be ignored |
//! | an upgrade to something else than `websocket` | 426 | nothing else is spoken |
//! | `Sec-WebSocket-Version` without 13 | 426 | there is no other that works |
//! | no `Sec-WebSocket-Key`, or two | 400 | the answer is made of it: of none, or of which one |
//! | subprotocols without `xmpp` | 400 | the client will speak one of those |
//! | a handshake with a body | 400 | whether it is a body or frames is read in two ways |
//! | a page of an origin that is not listed | 403 | `origins` of `[websocket]` and `[bosh]` |
//! | at a path of BOSH's: a method that is not POST, GET, HEAD or OPTIONS | 405 | there is nothing else to do |
//! | POST without a body | 400 | there is no request in it |
//! | a body of gzip, br and the like | 415 | it is not decoded; `Accept-Encoding` says so |
//! | a body past `max_body` | 413 | memory |
//! | a body that is no `<body/>`, or with attributes that are none | `bad-request` | [`megaphone_xmpp::bosh::Error`] |
//! | a creation without `to` | `improper-addressing` | nobody knows for which host |
//! | a creation that is a termination | `bad-request` | there is nothing to terminate |
//! | a session's requests without TLS that began with it | the connection ends | XEP-0124, 19.1 |
//! | a path below one of BOSH's or host-meta's | 404 | nothing is there |
//! | a method for host-meta that is not GET, HEAD or OPTIONS | 405 | it is for reading |
//! | too much: connections, sessions, logins, requests that take too long | 408, 429, 503, `policy-violation` | `[limits]` |

use bytes::Bytes;
use megaphone_http::{RequestKind, Version};

/// What becomes of a connection after an answer (RFC 9112, section 9.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// It goes on, as the client expects.
    GoesOn,
    /// It goes on, and a client of HTTP/1.0 has to hear it.
    KeptAlive,
    /// It is closed.
    Closes,
}

impl Persistence {
    /// What becomes of a connection on which another request may follow, or not.
    pub const fn of(version: Version, may_follow: bool) -> Self {
        match (version, may_follow) {
            (_, false) => Self::Closes,
            (Version::Http10, true) => Self::KeptAlive,
            (Version::Http11, true) => Self::GoesOn,
        }
    }

    /// The field that says so, with its line's end, if it has to be said.
    pub const fn field(self) -> &'static str {
        match self {
            Self::GoesOn => "",
            Self::KeptAlive => "Connection: keep-alive\r\n",
            Self::Closes => "Connection: close\r\n",
        }
    }
}

/// The answer to a request for a path where nothing is.
pub fn not_found(kind: RequestKind, persistence: Persistence) -> Bytes {
    const TEXT: &str = "there is nothing below this path; ask for the path itself\n";
    let body = match kind {
        RequestKind::Head => "",
        _ => TEXT,
    };
    Bytes::from(format!(
        "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\n{}\r\n{body}",
        TEXT.len(),
        persistence.field()
    ))
}
