//! The part of the configuration that can change while the program runs.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::RwLock;

use crate::backlog::Backlogs;
use crate::certificates::TlsServer;
use crate::config::{
    BoshConfig, Config, LimitsConfig, TrustedProxies, WebSocketConfig, XmppConfig,
};
use crate::http::{HostMeta, Routes};
use crate::peer::addresses::{Addresses, Connected, TooMany};

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
    /// What came from each source address, which stays when the configuration is read again.
    pub addresses: Arc<Addresses>,
    /// What clients have sent and nobody has taken, which stays too.
    pub backlogs: Arc<Backlogs>,
    /// Whose word is taken for where a client comes from.
    pub trusted_proxies: Arc<TrustedProxies>,
}

impl Settings {
    /// The settings of a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let limits = config.limits.clone();
        let backlogs = Arc::new(Backlogs::new(limits.max_input_buffer));
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
            addresses: Arc::default(),
            backlogs,
            trusted_proxies: Arc::new(TrustedProxies::new(config.trusted_proxies.clone())),
        }
    }

    /// The settings of a configuration that was read again. What all clients share has the new limits at
    /// once.
    #[must_use]
    pub fn reloaded(&self, config: &Config) -> Self {
        self.backlogs
            .budget()
            .set_max(config.limits.max_input_buffer);
        Self {
            addresses: Arc::clone(&self.addresses),
            backlogs: Arc::clone(&self.backlogs),
            ..Self::new(config)
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

    /// Takes a place for a connection among those of its address, if it needs one. A trusted proxy has as
    /// many connections as it has clients.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn connect(&self, address: IpAddr) -> Result<Option<Connected>, TooMany> {
        if self.is_trusted_proxy(address) {
            Ok(None)
        } else {
            self.addresses
                .connect(address, &self.limits, Instant::now())
        }
    }

    /// A login that was counted goes on as another one, which will be counted.
    pub fn forget_login(&self, address: IpAddr) {
        self.addresses.forget_login(address, &self.limits);
    }

    /// Counts a login that begins, before its session is opened.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn begin_login(&self, address: IpAddr) -> Result<(), TooMany> {
        if self.is_trusted_proxy(address) {
            Ok(())
        } else {
            self.addresses.login(address, &self.limits, Instant::now())
        }
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
