//! What goes to ejabberd of a client's requests.

use std::net::SocketAddr;

use bytes::Bytes;
use megaphone_http::RequestKind;

use crate::http::{Scheme, host_name};

/// Where a request's answer has to be told apart from the next one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// What the answer's framing depends on.
    pub kind: RequestKind,
    /// Whether the client wants to ask more on this connection.
    pub keep_alive: bool,
}

/// Bytes for ejabberd.
#[derive(Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The bytes.
    pub bytes: Bytes,
    /// The request that begins with them; `None` for more of one that has begun.
    pub asked: Option<Asked>,
    /// Whose they are.
    pub client: SocketAddr,
    /// How a trusted proxy says that the client came.
    pub scheme: Scheme,
}

impl Outgoing {
    /// The host that a request asks for, without its port.
    pub fn host(&self) -> Option<String> {
        self.asked?;
        // It was written here, so each line is a field until the empty one.
        let mut lines = self.bytes.split(|byte| *byte == b'\n').skip(1);
        let value = lines
            .by_ref()
            .map(<[u8]>::trim_ascii)
            .take_while(|line| !line.is_empty())
            .find_map(|line| {
                let (name, value) = line.split_at_checked(line.iter().position(|c| *c == b':')?)?;
                name.eq_ignore_ascii_case(b"host").then_some(&value[1..])
            })?;
        host_name(value)
    }
}
