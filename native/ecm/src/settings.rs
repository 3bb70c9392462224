//! The part of the configuration that can change while the program runs.

use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::certificates::TlsServer;
use crate::config::{
    BoshConfig, Config, LimitsConfig, TrustedProxies, WebSocketConfig, XmppConfig,
};
use crate::http::{HostMeta, Routes};

/// What a client is held to. A client keeps the settings that it was accepted with.
#[derive(Debug)]
pub struct Settings {
    /// `[limits]`
    pub limits: LimitsConfig,
    /// The part of it that the HTTP decoder looks after.
    pub http: megaphone_http::Limits,
    /// The requests that end here.
    pub routes: Routes,
    /// What is said of this program's URLs.
    pub host_meta: HostMeta,
    /// `[websocket]`
    pub websocket: WebSocketConfig,
    /// `[bosh]`
    pub bosh: BoshConfig,
    /// `[xmpp]`
    pub xmpp: XmppConfig,
    /// What clients with TLS are shown, and how.
    pub tls: Option<Arc<TlsServer>>,
    /// Whose word is taken for where a client comes from.
    pub trusted_proxies: Arc<TrustedProxies>,
}

impl Settings {
    /// The settings of a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let limits = config.limits.clone();
        let http = megaphone_http::Limits {
            max_head: usize::try_from(limits.max_head).unwrap_or(usize::MAX),
            max_headers: usize::try_from(limits.max_headers).unwrap_or(usize::MAX),
            max_chunked_body: limits.max_chunked_body,
            ..megaphone_http::Limits::default()
        };
        Self {
            limits,
            http,
            routes: Routes::of(config),
            host_meta: HostMeta::of(config),
            websocket: config.websocket.clone(),
            bosh: config.bosh.clone(),
            xmpp: config.xmpp.clone(),
            tls: None,
            trusted_proxies: Arc::new(TrustedProxies::new(config.trusted_proxies.clone())),
        }
    }

    /// The same, with these certificates.
    #[must_use]
    pub fn with_tls(self, tls: Option<TlsServer>) -> Self {
        let tls = tls.map(Arc::new);
        Self { tls, ..self }
    }

    /// Whether `X-Forwarded-For` is believed from this address.
    #[must_use]
    pub fn is_trusted_proxy(&self, address: IpAddr) -> bool {
        self.trusted_proxies.contain(address)
    }
}

/// The settings that new clients get.
#[derive(Debug)]
pub struct CurrentSettings(RwLock<Arc<Settings>>);

impl CurrentSettings {
    /// Starts with these.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self(RwLock::new(Arc::new(settings)))
    }

    /// The settings now.
    #[must_use]
    pub fn get(&self) -> Arc<Settings> {
        Arc::clone(&self.0.read())
    }

    /// Goes on with others.
    pub fn set(&self, settings: Settings) {
        *self.0.write() = Arc::new(settings);
    }
}
