//! What all clients share, and what stays when the configuration is read again: the nodes, what came from each source
//! address, and what clients have sent and nobody has taken.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::backlog::Backlogs;
use crate::config::LimitsConfig;
use crate::node::Nodes;
use crate::peer::addresses::{Addresses, Connected, TooMany};
use crate::settings::Settings;

/// All of it. What a client may do is in the [`Settings`] that it was accepted with.
#[derive(Debug)]
pub struct Registries {
    /// The way to ejabberd.
    pub nodes: Arc<Nodes>,
    /// What clients have sent and nobody has taken.
    pub backlogs: Arc<Backlogs>,
    /// What came from each source address.
    addresses: Arc<Addresses>,
}

impl Registries {
    /// With no client yet.
    pub fn new(nodes: Arc<Nodes>, backlogs: Arc<Backlogs>) -> Self {
        Self {
            nodes,
            backlogs,
            addresses: Arc::default(),
        }
    }

    /// What all clients share has new limits at once.
    pub fn set_limits(&self, limits: &LimitsConfig) {
        self.backlogs.budget().set_max(limits.max_input_buffer);
    }

    /// How many source addresses are known.
    pub fn address_count(&self) -> usize {
        self.addresses.count()
    }

    /// Takes a place for a connection among those of its address, if it needs one. A trusted proxy has as
    /// many connections as it has clients.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn connect(
        &self,
        address: IpAddr,
        settings: &Settings,
    ) -> Result<Option<Connected>, TooMany> {
        if settings.is_trusted_proxy(address) {
            Ok(None)
        } else {
            let limits = &settings.limits;
            self.addresses.connect(address, limits, Instant::now())
        }
    }

    /// Counts a login that begins, before its session is opened.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn begin_login(&self, address: IpAddr, settings: &Settings) -> Result<(), TooMany> {
        if settings.is_trusted_proxy(address) {
            Ok(())
        } else {
            let limits = &settings.limits;
            self.addresses.login(address, limits, Instant::now())
        }
    }

    /// A login that was counted goes on as another one, which will be counted.
    pub fn forget_login(&self, address: IpAddr, settings: &Settings) {
        self.addresses.forget_login(address, &settings.limits);
    }
}
