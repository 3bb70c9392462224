//! `[[listener]]`: where clients connect, and what they speak there.

use std::net::SocketAddr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::values;

/// One `[[listener]]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, try_from = "RawListenerConfig")]
pub struct ListenerConfig {
    /// The address and port that clients connect to.
    pub address: SocketAddr,
    /// What clients speak there.
    pub kind: ListenerKind,
    /// What is done with it.
    pub service: Service,
    /// Whether each connection starts with a PROXY header, version 1 or 2.
    pub proxy_protocol: bool,
    /// Whether clients are asked for a certificate.
    pub client_certificates: ClientCertificates,
}

/// Whether clients with TLS are asked for a certificate, by which they may log in (XEP-0178).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// They aren't.
    #[default]
    Off,
    /// They are, and need not have one.
    Request,
}

/// What is done with what clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// HTTP/1.1 goes to ejabberd_http, as far as it does not end here.
    Http,
    /// XML streams end here and go on as sessions.
    Streams(StartTls),
    /// XML streams go to ejabberd_c2s as they are.
    StreamRelay,
}

/// Whether a stream without TLS may, or has to, go on with TLS (RFC 6120, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StartTls {
    /// It has to, before anything else.
    #[default]
    Required,
    /// It may.
    Optional,
    /// It can't.
    Off,
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

impl ListenerConfig {
    /// A listener for this kind at an address, with the defaults.
    #[must_use]
    pub const fn new(address: SocketAddr, kind: ListenerKind) -> Self {
        Self {
            address,
            kind,
            service: match kind {
                ListenerKind::Http | ListenerKind::Https => Service::Http,
                ListenerKind::Xmpp => Service::Streams(StartTls::Required),
                ListenerKind::Xmpps => Service::Streams(StartTls::Off),
            },
            proxy_protocol: false,
            client_certificates: ClientCertificates::Off,
        }
    }

    /// Why it needs somebody's certificate who signs those of clients, if it does.
    pub(super) const fn needs_client_ca(&self) -> Option<&'static str> {
        match self.client_certificates {
            ClientCertificates::Off => None,
            ClientCertificates::Request => Some(
                "client_certificates = \"request\" needs xmpp.client_ca, the file with the CAs that sign them",
            ),
        }
    }

    /// Why it needs a certificate, if it does.
    pub(super) const fn needs_certificate(&self) -> Option<&'static str> {
        if self.kind.is_tls() {
            return Some("TLS needs a certificate; write a [[certificate]] with cert and key");
        }
        match self.service {
            Service::Streams(StartTls::Required | StartTls::Optional) => Some(
                "STARTTLS needs a certificate; write a [[certificate]] with cert and key, or \
                 starttls = \"off\"",
            ),
            Service::Streams(StartTls::Off) | Service::Http | Service::StreamRelay => None,
        }
    }
}

impl Service {
    /// What clients speak.
    #[must_use]
    pub const fn application(self) -> Application {
        match self {
            Self::Http => Application::Http,
            Self::Streams(_) | Self::StreamRelay => Application::Xmpp,
        }
    }
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

/// A `[[listener]]` before its values were held against each other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawListenerConfig {
    #[serde(deserialize_with = "values::socket_address")]
    address: SocketAddr,
    #[serde(default)]
    kind: ListenerKind,
    starttls: Option<StartTls>,
    #[serde(default)]
    relay: bool,
    #[serde(default)]
    proxy_protocol: bool,
    #[serde(default)]
    client_certificates: ClientCertificates,
}

impl TryFrom<RawListenerConfig> for ListenerConfig {
    type Error = &'static str;

    fn try_from(raw: RawListenerConfig) -> Result<Self, Self::Error> {
        let default = Self::new(raw.address, raw.kind);
        let service = match (raw.kind.application(), raw.relay, raw.starttls) {
            (Application::Xmpp, true, None) => Service::StreamRelay,
            (Application::Xmpp, true, Some(_)) => {
                return Err(
                    "starttls can't be set together with relay: then STARTTLS is ejabberd's",
                );
            }
            (Application::Http, true, _) => {
                return Err("relay is for the kinds \"xmpp\" and \"xmpps\"");
            }
            (_, false, Some(starttls)) if raw.kind == ListenerKind::Xmpp => {
                Service::Streams(starttls)
            }
            (_, false, Some(_)) => return Err("starttls is for the kind \"xmpp\""),
            (_, false, None) => default.service,
        };
        if raw.client_certificates == ClientCertificates::Request
            && !(matches!(service, Service::Streams(_))
                && (raw.kind.is_tls() || service != Service::Streams(StartTls::Off)))
        {
            return Err(
                "client_certificates is for the kinds \"xmpp\" and \"xmpps\" whose TLS ends here",
            );
        }
        Ok(Self {
            service,
            proxy_protocol: raw.proxy_protocol,
            client_certificates: raw.client_certificates,
            ..default
        })
    }
}

/// Every `[[listener]]`.
pub(super) fn at_least_one<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<ListenerConfig>, D::Error> {
    let listeners = values::list::<ListenerConfig, D>(deserializer)?;
    if listeners.is_empty() {
        return Err(D::Error::custom(
            "nothing to listen on, write at least one [[listener]]",
        ));
    }
    Ok(listeners)
}
