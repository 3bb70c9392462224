//! What trunks can say beside bytes, by the protocol that they speak.

use crate::config::Protocol;

/// What trunks can say of a connection. All of it is in version 2 of the protocol and none in version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// That it is a session, whose documents are delimited.
    pub sessions: bool,
    /// Whose it is: a PROXY header goes before its first byte.
    pub addresses: bool,
    /// That its client sends no more and takes what comes.
    pub half_close: bool,
}

impl Capabilities {
    /// What this protocol can say.
    pub const fn of(protocol: Protocol) -> Self {
        let all = matches!(protocol, Protocol::V2);
        Self {
            sessions: all,
            addresses: all,
            half_close: all,
        }
    }
}
