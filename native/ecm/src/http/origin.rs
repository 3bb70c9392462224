//! Whose requests a client's socket brings.
//!
//! A request comes from the address that connected, unless that is a trusted proxy: then it comes from the client that
//! the proxy names in `X-Forwarded-For`. A proxy sends requests of many clients on one connection, so each request is
//! checked, and one from another client than the one before gets a connection of its own in the trunk.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use megaphone_http::{FieldValue, HeadEdit, RequestHead};
use megaphone_trunk::proxy::MAX_FIELDS;

use super::host_meta::Scheme;
use crate::config::TrustedProxies;
use crate::trunk::{Capabilities, canonical};

const FORWARDED_FOR: &str = "X-Forwarded-For";
const FORWARDED_PROTO: &str = "X-Forwarded-Proto";
/// Fields that are about a connection, or are a proxy's (RFC 9110, sections 7.6.1 and 11.7).
const HOP_BY_HOP: [&str; 8] = [
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "TE",
    "Transfer-Encoding",
    "Upgrade",
];

/// How the client of a request is found, and how ejabberd hears of it.
#[derive(Debug)]
pub enum Origins {
    /// The client is the peer that connected.
    Peer(SocketAddr),
    /// A trusted proxy connected, whose word is taken.
    Proxy(SocketAddr, Arc<TrustedProxies>),
    /// As for [`Proxy`](Self::Proxy), but ejabberd is shown the whole way that a request came, because
    /// its trunk has no other place for the client's address.
    ProxyInHeader(SocketAddr),
}

impl Origins {
    /// The origins of what comes from `peer`.
    pub fn of(peer: SocketAddr, proxies: &Arc<TrustedProxies>, capabilities: Capabilities) -> Self {
        match (proxies.contain(peer.ip()), capabilities.addresses) {
            (false, _) => Self::Peer(peer),
            (true, false) => Self::ProxyInHeader(peer),
            (true, true) => Self::Proxy(peer, Arc::clone(proxies)),
        }
    }

    /// The peer that connected.
    pub const fn peer(&self) -> SocketAddr {
        match self {
            Self::Peer(peer) | Self::Proxy(peer, _) | Self::ProxyInHeader(peer) => *peer,
        }
    }

    /// The client of a request. The port of one that is behind a proxy is 0, if the proxy did not say
    /// it.
    pub fn client(&self, head: &RequestHead) -> SocketAddr {
        match self {
            Self::Peer(peer) | Self::ProxyInHeader(peer) => *peer,
            Self::Proxy(peer, proxies) => {
                let values: Vec<_> = head.header_values(FORWARDED_FOR).collect();
                let hops = values
                    .iter()
                    .rev()
                    .flat_map(|value| value.rsplit(|byte| *byte == b','));
                nearest_stranger(*peer, hops, |ip| proxies.contain(ip))
            }
        }
    }

    /// Whether a proxy that can be trusted says that the client of a request came by TLS.
    pub fn scheme(&self, head: &RequestHead) -> Scheme {
        match (self, head.header(FORWARDED_PROTO)) {
            (Self::Proxy(..) | Self::ProxyInHeader(_), Some(proto))
                if proto.eq_ignore_ascii_case(b"https") =>
            {
                Scheme::Tls
            }
            _ => Scheme::Plain,
        }
    }

    /// What the head of a request of `client` says of it to ejabberd.
    pub fn edit(&self, client: SocketAddr) -> HeadEdit {
        let edit = HeadEdit::new();
        match self {
            Self::ProxyInHeader(peer) => edit.append(FORWARDED_FOR, FieldValue::from(peer.ip())),
            Self::Peer(_) | Self::Proxy(..) => {
                edit.replace(FORWARDED_FOR, FieldValue::from(client.ip()))
            }
        }
    }

    /// The fields of a request of `client` as ejabberd would get them, each a line, but for those that are about
    /// this connection alone. One that is too long, or for which there is no room, is left out.
    pub fn fields(&self, head: &RequestHead, client: SocketAddr) -> Bytes {
        let edit = HOP_BY_HOP
            .into_iter()
            .fold(self.edit(client), HeadEdit::drop);
        let mut written = BytesMut::new();
        head.write(&edit, &mut written);
        let mut fields = BytesMut::new();
        for line in written.split_inclusive(|byte| *byte == b'\n').skip(1) {
            if line != b"\r\n" && fields.len() + line.len() <= MAX_FIELDS {
                fields.extend_from_slice(line);
            }
        }
        fields.freeze()
    }
}

/// Goes back from proxy to proxy, as long as each is trusted and names the address before it.
fn nearest_stranger<'h>(
    peer: SocketAddr,
    hops: impl Iterator<Item = &'h [u8]>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> SocketAddr {
    let mut nearest = peer;
    for hop in hops {
        let Some(address) = parse(hop) else {
            break;
        };
        nearest = address;
        if !is_trusted(address.ip()) {
            break;
        }
    }
    nearest
}

/// An address, with its port or without.
fn parse(hop: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(hop).ok()?.trim();
    let without_port = || {
        let ip = text.trim_start_matches('[').trim_end_matches(']');
        ip.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, 0))
    };
    let address = text.parse().ok().or_else(without_port)?;
    Some(canonical(address))
}

#[cfg(test)]
mod tests {
    use megaphone_http::{Event, Limits, RequestDecoder};

    use super::*;

    #[test]
    fn a_requests_fields_are_those_that_concern_ejabberd_as_far_as_there_is_room() {
        let cookie = format!("Cookie: {}\r\n", "a".repeat(MAX_FIELDS));
        for (cookie, expected) in [("Cookie: a=b\r\n", "Cookie: a=b\r\n"), (&cookie, "")] {
            let request = format!(
                "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 {cookie}X-Forwarded-For: 6.6.6.6\r\nproxy-authorization: x\r\nLast: y\r\n\r\n"
            );
            let mut input = BytesMut::from(request.as_str());
            let head = match RequestDecoder::new(Limits::default()).decode(&mut input) {
                Ok(Some(Event::Head(head))) => head,
                other => panic!("expected a head, got {other:?}"),
            };
            let peer = "192.0.2.7:1".parse().unwrap();
            let fields = Origins::Peer(peer).fields(&head, peer);
            assert_eq!(
                std::str::from_utf8(&fields).unwrap(),
                format!("Host: a\r\n{expected}Last: y\r\nX-Forwarded-For: 192.0.2.7\r\n")
            );
        }
    }

    #[test]
    fn the_client_is_the_first_on_the_way_back_that_is_no_proxy() {
        for (forwarded, expected) in [
            (&[][..], "10.0.0.1:99"),
            (&["192.0.2.7"], "192.0.2.7:0"),
            (&["6.6.6.6, 192.0.2.7"], "192.0.2.7:0"),
            (&["6.6.6.6", "192.0.2.7,10.0.0.2"], "192.0.2.7:0"),
            (&["192.0.2.7:4711"], "192.0.2.7:4711"),
            (&["2001:db8::7"], "[2001:db8::7]:0"),
            (&["[2001:db8::7]:4711"], "[2001:db8::7]:4711"),
            (&["[2001:db8::7]"], "[2001:db8::7]:0"),
            (&["::ffff:192.0.2.7"], "192.0.2.7:0"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3:0"),
            (&["192.0.2.7, unknown, 10.0.0.2"], "10.0.0.2:0"),
            (&["192.0.2.7, \u{fe}"], "10.0.0.1:99"),
            (&[""], "10.0.0.1:99"),
        ] {
            let peer = "10.0.0.1:99".parse().unwrap();
            let hops = forwarded
                .iter()
                .rev()
                .flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','));
            let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
            let client = nearest_stranger(peer, hops, |ip| proxies.contain(ip));
            assert_eq!(client, expected.parse().unwrap(), "{forwarded:?}");
        }
    }
}
