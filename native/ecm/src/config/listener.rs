//! `[[listener]]`: where clients connect, and what they speak there.

use std::net::SocketAddr;

use serde::Deserialize;

use super::values;

/// One `[[listener]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerConfig {
    /// The address and port that clients connect to.
    #[serde(deserialize_with = "values::socket_address")]
    pub address: SocketAddr,
    /// What clients speak there.
    #[serde(default)]
    pub kind: ListenerKind,
    /// Whether each connection starts with a PROXY header, version 1 or 2.
    #[serde(default)]
    pub proxy_protocol: bool,
}

/// What clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerKind {
    /// HTTP/1.1 and WebSocket, without TLS.
    #[default]
    Http,
    /// The same with TLS.
    Https,
    /// XMPP streams, RFC 6120, with STARTTLS where it is offered.
    Xmpp,
    /// XMPP streams with TLS from the first byte on, XEP-0368.
    Xmpps,
}

/// What clients speak, with or without TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Application {
    /// HTTP/1.1 and WebSocket.
    Http,
    /// XMPP streams.
    Xmpp,
}

impl ListenerKind {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Xmpp => "xmpp",
            Self::Xmpps => "xmpps",
        }
    }

    /// As it stands in the file.
    pub(super) const fn quoted(self) -> &'static str {
        match self {
            Self::Http => "\"http\"",
            Self::Https => "\"https\"",
            Self::Xmpp => "\"xmpp\"",
            Self::Xmpps => "\"xmpps\"",
        }
    }

    /// What is spoken, once there is TLS if there has to be.
    #[must_use]
    pub const fn application(self) -> Application {
        match self {
            Self::Http | Self::Https => Application::Http,
            Self::Xmpp | Self::Xmpps => Application::Xmpp,
        }
    }

    /// Whether TLS comes first.
    #[must_use]
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Xmpps)
    }
}
