//! A file that is read again while the program runs.

use super::error::ConfigError;
use super::file::{Config, LogConfig};
use super::fleet::FleetConfig;
use super::listener::ListenerConfig;
use super::nodes::NodesConfig;
use super::reading::Reading;
use super::trunk::TrunkConfig;

/// What a file says that was read again.
#[derive(Debug, PartialEq, Eq)]
pub struct Again {
    /// What the program goes on with: of the keys that need a restart, what it runs with.
    pub config: Config,
    /// The keys that have other values in the file, and need a restart.
    pub needs_restart: Vec<&'static str>,
}

impl Config {
    /// What a program goes on with that runs with this configuration and has read its file again.
    ///
    /// The listeners stay until a restart, so the file has to have what they need, whichever it names itself.
    ///
    /// # Errors
    /// [`ConfigError`] if anything is wrong with the file, or if a listener would lose what it needs.
    pub fn read_again(&self, reading: Reading) -> Result<Again, ConfigError> {
        let path = reading.path().to_owned();
        let file = reading.into_config()?;
        self.check_again(&file)
            .map_err(|message| ConfigError::Unfit { path, message })?;
        Ok(self.go_on_with(file))
    }

    /// What is wrong with a file for the listeners that run.
    pub(super) fn check_again(&self, file: &Self) -> Result<(), String> {
        if self.names_listeners && !file.names_listeners {
            return Err(
                "there is no [[listener]] in it, and some are running; is it empty, or cut short?"
                    .to_owned(),
            );
        }
        for listener in &self.listeners {
            if let Some(why) = self.lost_by(listener, file) {
                let (address, kind) = (listener.address, listener.kind.name());
                return Err(format!("the listener {address} ({kind}) is running; {why}"));
            }
        }
        Ok(())
    }

    /// What a listener that runs needs and would not have any more.
    fn lost_by(&self, listener: &ListenerConfig, file: &Self) -> Option<&'static str> {
        if file.certificates.is_empty()
            && let Some(why) = listener.needs_certificate()
        {
            return Some(why);
        }
        if file.xmpp.client_ca.is_none()
            && let Some(why) = listener.needs_client_ca()
        {
            return Some(why);
        }
        let is_for_proxies = listener.proxy_protocol && !listener.address.ip().is_loopback();
        (is_for_proxies && file.trusted_proxies.is_empty() && !self.trusted_proxies.is_empty())
            .then_some("with proxy_protocol it needs the trusted_proxies that may connect")
    }

    fn go_on_with(&self, file: Self) -> Again {
        let mut needs_restart = Vec::new();
        let mut compare = |key, same: bool| {
            if !same {
                needs_restart.push(key);
            }
        };
        compare("threads", file.threads == self.threads);
        compare("listener", file.listeners == self.listeners);
        compare("metrics.address", file.metrics == self.metrics);
        let ping_interval = self.nodes.ping_interval;
        compare(
            "nodes.ping_interval",
            file.nodes.ping_interval == ping_interval,
        );
        compare("log.format", file.log.format == self.log.format);
        compare("control.socket", file.control == self.control);
        // The only node is the trunk's address, which stays.
        let names_nodes = |config: &Self| !config.named_nodes.is_empty();
        let same_form = names_nodes(&file) == names_nodes(self);
        compare("node", same_form);
        compare(
            "nodes.name_servers",
            file.nodes.name_servers == self.nodes.name_servers,
        );
        let trunk = self.trunk.go_on_with(file.trunk, &mut compare);
        let fleet = FleetConfig::go_on_with(self.fleet.as_ref(), file.fleet, &mut compare);
        let config = Self {
            threads: self.threads,
            names_listeners: self.names_listeners,
            listeners: self.listeners.clone(),
            metrics: self.metrics.clone(),
            trunk,
            named_nodes: if same_form {
                file.named_nodes
            } else {
                self.named_nodes.clone()
            },
            control: self.control.clone(),
            log: LogConfig {
                format: self.log.format,
                ..file.log
            },
            nodes: NodesConfig {
                ping_interval,
                name_servers: self.nodes.name_servers.clone(),
                ..file.nodes
            },
            fleet,
            ..file
        };
        Again {
            config,
            needs_restart,
        }
    }
}

impl FleetConfig {
    /// The peers can change, and the files for TLS; whether there is TLS can't, as with the trunks.
    fn go_on_with(
        running: Option<&Self>,
        file: Option<Self>,
        compare: &mut impl FnMut(&'static str, bool),
    ) -> Option<Self> {
        let (Some(running), Some(file)) = (running, &file) else {
            compare("fleet", running.is_none() && file.is_none());
            return running.cloned();
        };
        compare("fleet.name", file.name == running.name);
        compare("fleet.key", file.key == running.key);
        compare("fleet.address", file.address == running.address);
        compare("fleet.allow_plain", file.allow_plain == running.allow_plain);
        compare("fleet.tls", file.tls.is_some() == running.tls.is_some());
        Some(Self {
            peers: file.peers.clone(),
            tls: match (&running.tls, &file.tls) {
                (Some(_), Some(tls)) => Some(tls.clone()),
                (running, _) => running.clone(),
            },
            ..running.clone()
        })
    }
}

impl TrunkConfig {
    /// All that can change of the trunks is the files for their TLS. Whether they have TLS can't: a file that
    /// was cut short must not take it away.
    fn go_on_with(&self, file: Self, compare: &mut impl FnMut(&'static str, bool)) -> Self {
        let Self {
            address,
            protocol,
            trunks,
            tls,
            max_frame_size,
            connect_timeout,
            backoff_min,
            backoff_max,
        } = file;
        compare("trunk.address", address == self.address);
        compare("trunk.protocol", protocol == self.protocol);
        compare("trunk.trunks", trunks == self.trunks);
        compare(
            "trunk.max_frame_size",
            max_frame_size == self.max_frame_size,
        );
        compare(
            "trunk.connect_timeout",
            connect_timeout == self.connect_timeout,
        );
        compare("trunk.backoff_min", backoff_min == self.backoff_min);
        compare("trunk.backoff_max", backoff_max == self.backoff_max);
        compare("trunk.tls", tls.is_some() == self.tls.is_some());
        Self {
            tls: match (&self.tls, tls) {
                (Some(_), Some(tls)) => Some(tls),
                (running, _) => running.clone(),
            },
            ..self.clone()
        }
    }
}
