//! What ejabberd is told of a connection before its first byte.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use megaphone_trunk::proxy::{self, Addresses, ChannelBindings, Command, Header, Tls, Transport};

/// What a connection carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// HTTP/1.1, for ejabberd_http.
    Http,
    /// A raw XML stream, for ejabberd_c2s.
    XmppClient,
    /// A session's documents, for megaphone_session.
    XmppFraming(Binding),
}

/// How the client of a session is bound to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binding {
    /// An XML stream over TCP or TLS (RFC 6120).
    Stream,
    /// WebSocket (RFC 7395).
    WebSocket,
    /// BOSH (XEP-0206).
    Bosh,
}

impl Content {
    /// Its ALPN protocol id.
    pub(super) const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http => b"http/1.1",
            Self::XmppClient => b"xmpp-client",
            Self::XmppFraming(_) => b"xmpp-framing",
        }
    }

    /// How the client speaks to this program.
    const fn transport(self, tls: Option<&Tls>) -> Transport {
        match (self, tls) {
            (Self::XmppFraming(Binding::WebSocket), _) => Transport::WebSocket,
            (Self::XmppFraming(Binding::Bosh), _) => Transport::Bosh,
            (_, Some(_)) => Transport::Tls,
            (_, None) => Transport::Tcp,
        }
    }
}

/// Where a connection comes from and what it carries. Version 1 of the protocol can't say it.
#[derive(Debug)]
pub struct Opening {
    /// The client's address; its port is 0 if a proxy did not say it.
    pub client: SocketAddr,
    /// The address that it connected to.
    pub server: SocketAddr,
    /// The host that it asked for.
    pub host: Option<String>,
    /// What it carries.
    pub content: Content,
    /// The client's TLS, if it came by TLS.
    pub tls: Option<Tls>,
    /// What its login can be bound to, if its TLS ends here.
    pub bindings: ChannelBindings,
    /// The fields of the request by which its client came by WebSocket, each a line.
    pub fields: Option<Bytes>,
}

impl Opening {
    /// A connection of which nothing more is known.
    pub fn new(client: SocketAddr, server: SocketAddr, content: Content, tls: Option<Tls>) -> Self {
        Self {
            client,
            server,
            host: None,
            content,
            tls,
            bindings: ChannelBindings::default(),
            fields: None,
        }
    }

    /// How the client is connected.
    pub const fn transport(&self) -> Transport {
        self.content.transport(self.tls.as_ref())
    }

    /// The connection's first bytes in version 2: a PROXY header.
    pub fn to_header(&self) -> Vec<u8> {
        self.write_header(None)
    }

    /// The same of a connection to which a session moves that has this token. It has logged in: what that takes is
    /// not said again.
    pub fn to_takeover(&self, token: &Bytes) -> Vec<u8> {
        self.write_header(Some(token))
    }

    fn write_header(&self, takeover: Option<&Bytes>) -> Vec<u8> {
        let (source, destination) = one_family(self.client, self.server);
        let header = Header {
            command: Command::Proxy,
            addresses: Addresses::Inet {
                source,
                destination,
            },
            alpn: Some(Bytes::from_static(self.content.alpn())),
            authority: self.host.clone(),
            unique_id: None,
            transport: Some(self.transport()),
            tls: self.tls.clone(),
            bindings: self.bindings.clone(),
            fields: self.fields.clone(),
            takeover: takeover.cloned(),
        };
        let mut bytes = Vec::new();
        proxy::write(&header, &mut bytes);
        bytes
    }
}

/// A header has two addresses of one family. A proxy's client may have come by another one than the
/// proxy: then both are said as IPv6.
fn one_family(client: SocketAddr, server: SocketAddr) -> (SocketAddr, SocketAddr) {
    let (client, server) = (canonical(client), canonical(server));
    if client.is_ipv4() == server.is_ipv4() {
        (client, server)
    } else {
        (as_ipv6(client), as_ipv6(server))
    }
}

/// An IPv4 address that came in IPv6 form, because the listener takes both, is an IPv4 address.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn as_ipv6(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    SocketAddr::new(ip.into(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(client: &str, server: &str) -> Header {
        let opening = Opening {
            client: client.parse().unwrap(),
            server: server.parse().unwrap(),
            host: Some("example.org".to_owned()),
            content: Content::Http,
            tls: None,
            bindings: ChannelBindings::default(),
            fields: None,
        };
        let bytes = opening.to_header();
        let (header, length) = proxy::read(&bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        header
    }

    #[test]
    fn a_header_says_who_what_and_how() {
        let header = header("192.0.2.7:4711", "198.51.100.1:80");
        assert_eq!(
            header,
            Header {
                command: Command::Proxy,
                addresses: Addresses::Inet {
                    source: "192.0.2.7:4711".parse().unwrap(),
                    destination: "198.51.100.1:80".parse().unwrap(),
                },
                alpn: Some(Bytes::from_static(b"http/1.1")),
                authority: Some("example.org".to_owned()),
                unique_id: None,
                tls: None,
                transport: Some(Transport::Tcp),
                bindings: ChannelBindings::default(),
                fields: None,
                takeover: None,
            }
        );
    }

    #[test]
    fn what_a_connection_carries_and_how_its_client_came() {
        let xmpp = Content::XmppFraming;
        let (plain, tls) = (None, Some(Tls::default()));
        for (content, tls, alpn, transport) in [
            (Content::Http, &plain, "http/1.1", Transport::Tcp),
            (Content::Http, &tls, "http/1.1", Transport::Tls),
            (Content::XmppClient, &plain, "xmpp-client", Transport::Tcp),
            (
                xmpp(Binding::Stream),
                &plain,
                "xmpp-framing",
                Transport::Tcp,
            ),
            (xmpp(Binding::Stream), &tls, "xmpp-framing", Transport::Tls),
            (
                xmpp(Binding::WebSocket),
                &plain,
                "xmpp-framing",
                Transport::WebSocket,
            ),
            (
                xmpp(Binding::WebSocket),
                &tls,
                "xmpp-framing",
                Transport::WebSocket,
            ),
            (xmpp(Binding::Bosh), &plain, "xmpp-framing", Transport::Bosh),
        ] {
            let opening = Opening {
                client: "192.0.2.7:1".parse().unwrap(),
                server: "192.0.2.1:2".parse().unwrap(),
                host: None,
                content,
                tls: tls.clone(),
                bindings: ChannelBindings::default(),
                fields: None,
            };
            let (header, _) = proxy::read(&opening.to_header()).unwrap().unwrap();
            assert_eq!(header.alpn.as_deref(), Some(alpn.as_bytes()), "{content:?}");
            assert_eq!(header.transport, Some(transport), "{content:?}");
            assert_eq!(header.tls.is_some(), tls.is_some(), "{content:?}");
        }
    }

    #[test]
    fn both_addresses_are_of_one_family() {
        for (client, server, expected) in [
            (
                "[2001:db8::7]:1",
                "[2001:db8::1]:2",
                ["[2001:db8::7]:1", "[2001:db8::1]:2"],
            ),
            (
                "[::ffff:192.0.2.7]:1",
                "[::ffff:192.0.2.1]:2",
                ["192.0.2.7:1", "192.0.2.1:2"],
            ),
            (
                "[2001:db8::7]:0",
                "127.0.0.1:2",
                ["[2001:db8::7]:0", "[::ffff:127.0.0.1]:2"],
            ),
            (
                "192.0.2.7:0",
                "[::1]:2",
                ["[::ffff:192.0.2.7]:0", "[::1]:2"],
            ),
        ] {
            let [source, destination] = expected.map(|text| text.parse().unwrap());
            assert_eq!(
                header(client, server).addresses,
                Addresses::Inet {
                    source,
                    destination
                }
            );
        }
    }
}
