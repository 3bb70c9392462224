//! What is legal in a file but unwise.

use super::file::Config;
use super::listener::{ListenerConfig, ListenerKind, Service, StartTls};
use super::nodes::NodeAddress;

/// A part of the file, such as `listener.0.address`, and what is unwise about it.
type Advice = (String, String);

/// What is unwise in a file.
pub(super) fn of(config: &Config) -> Vec<Advice> {
    let mut advice = Vec::new();
    listeners(config, &mut advice);
    trunks(config, &mut advice);
    proxies(config, &mut advice);
    limits(config, &mut advice);
    log(config, &mut advice);
    advice
}

fn listeners(config: &Config, advice: &mut Vec<Advice>) {
    for (place, listener) in config.listeners.iter().enumerate() {
        if let Some((key, message)) = plain(config, listener) {
            advice.push((format!("listener.{place}.{key}"), message.to_owned()));
        }
    }
    if let Some(address) = config.metrics.address
        && address.ip().is_unspecified()
    {
        let message = format!(
            "{address} is every address of this machine, so clients can read the metrics too; name one that only those \
             who monitor it reach"
        );
        advice.push(("metrics.address".to_owned(), message));
    }
}

/// A listener on which clients may send passwords without TLS, with no proxy in front that has TLS.
fn plain(config: &Config, listener: &ListenerConfig) -> Option<(&'static str, &'static str)> {
    if listener.address.ip().is_loopback() || listener.proxy_protocol {
        return None;
    }
    match (listener.service, listener.kind) {
        (Service::Http, ListenerKind::Http) if config.trusted_proxies.is_empty() => Some((
            "address",
            "clients send their passwords here without TLS; write kind = \"https\", or put a proxy with TLS in front \
             and name it in trusted_proxies",
        )),
        (Service::Streams(StartTls::Off), ListenerKind::Xmpp) => Some((
            "starttls",
            "clients send their passwords here without TLS; write starttls = \"required\"",
        )),
        (Service::Streams(StartTls::Optional), ListenerKind::Xmpp) => Some((
            "starttls",
            "clients may send their passwords here without TLS; write starttls = \"required\"",
        )),
        _ => None,
    }
}

fn trunks(config: &Config, advice: &mut Vec<Advice>) {
    if config.trunk.tls.is_some() {
        return;
    }
    for (place, node) in config.all_nodes().iter().enumerate() {
        let is_here = match &node.address {
            NodeAddress::Fixed(address) => address.is_here(),
            NodeAddress::Name { host, .. } => host == "localhost",
            NodeAddress::Srv(_) => false,
        };
        if !is_here {
            let part = if config.named_nodes.is_empty() {
                "trunk.address".to_owned()
            } else {
                format!("node.{place}.address")
            };
            let message = "the trunk to another machine has no TLS: whoever is between can speak for every user; write \
                           [trunk.tls], unless nobody else can reach that network";
            advice.push((part, message.to_owned()));
        }
    }
}

fn proxies(config: &Config, advice: &mut Vec<Advice>) {
    for (place, network) in config.trusted_proxies.iter().enumerate() {
        if network.is_everybody() {
            let message = format!(
                "{network} is everybody, so each client can claim any address; name the proxies"
            );
            advice.push((format!("trusted_proxies.{place}"), message));
        }
    }
}

fn limits(config: &Config, advice: &mut Vec<Advice>) {
    let websocket = &config.websocket;
    if websocket.timeout <= websocket.ping_interval {
        let message = "a client that only reads is closed before it was sent a ping; write more than ping_interval";
        advice.push(("websocket.timeout".to_owned(), message.to_owned()));
    }
    let limits = &config.limits;
    if limits.max_stanza_size > limits.max_input_buffer {
        let message =
            "one stanza may be more than max_input_buffer, which is for all clients together";
        advice.push(("limits.max_stanza_size".to_owned(), message.to_owned()));
    }
    if limits.max_client_buffer > limits.max_output_buffer {
        let message = "one client may have more waiting than max_output_buffer, which is for all clients together";
        advice.push(("limits.max_client_buffer".to_owned(), message.to_owned()));
    }
}

fn log(config: &Config, advice: &mut Vec<Advice>) {
    let level = config.log.level.as_str();
    if matches!(level.to_ascii_lowercase().as_str(), "debug" | "trace") {
        let message = format!(
            "{level:?} writes several lines for each client; \"info\" is for those who run it"
        );
        advice.push(("log.level".to_owned(), message));
    }
}
