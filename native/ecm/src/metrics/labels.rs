//! What numbers are told apart by.

use std::marker::PhantomData;

use megaphone_trunk::proxy::Transport;
use megaphone_xmpp::Condition;

use super::counter::Counter;
use crate::config::ListenerKind;

/// The values of a label.
pub trait Label: Copy + 'static {
    /// What the label is called.
    const KEY: &'static str;

    /// All of them, each at its [`index`](Self::index).
    const ALL: &'static [Self];

    /// Its number, from 0.
    fn index(self) -> usize;

    /// As it is written.
    fn name(self) -> &'static str;
}

/// A number for each value of a label, of which there are `N`.
#[derive(Debug)]
pub struct Family<L, const N: usize> {
    counters: [Counter; N],
    label: PhantomData<fn(L)>,
}

impl<L: Label, const N: usize> Family<L, N> {
    /// Zeros.
    pub const fn new() -> Self {
        assert!(N == L::ALL.len(), "a number for each value");
        Self {
            counters: [const { Counter::new() }; N],
            label: PhantomData,
        }
    }

    /// The number for one value.
    pub fn of(&self, value: L) -> &Counter {
        &self.counters[value.index()]
    }

    /// All numbers, with what they are for.
    pub fn values(&self) -> impl Iterator<Item = (L, u64)> {
        L::ALL.iter().map(|value| (*value, self.of(*value).get()))
    }
}

/// Which way something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From clients to ejabberd.
    In,
    /// From ejabberd to clients.
    Out,
}

impl Label for Direction {
    const KEY: &'static str = "direction";
    const ALL: &'static [Self] = &[Self::In, Self::Out];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

impl Label for ListenerKind {
    const KEY: &'static str = "listener";
    const ALL: &'static [Self] = &[Self::Http, Self::Https, Self::Xmpp, Self::Xmpps];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        Self::name(self)
    }
}

impl Label for Transport {
    const KEY: &'static str = "transport";
    const ALL: &'static [Self] = &[Self::Tcp, Self::Tls, Self::WebSocket, Self::Bosh];

    fn index(self) -> usize {
        match self {
            Self::Tcp => 0,
            Self::Tls => 1,
            Self::WebSocket => 2,
            Self::Bosh => 3,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::WebSocket => "websocket",
            Self::Bosh => "bosh",
        }
    }
}

/// Why a client was turned away, or its connection ended against its will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// `max_connections` was reached.
    MaxConnections,
    /// `max_connections_per_address` was reached.
    AddressConnections,
    /// `connections_per_second_per_address` was passed.
    AddressConnectionRate,
    /// `logins_per_second_per_address` was passed.
    AddressLoginRate,
    /// Its turn to log in did not come within `login_wait`.
    LoginWait,
    /// `max_sessions` of BOSH was reached.
    MaxSessions,
    /// There was no trunk.
    NoTrunk,
    /// The trunk, or the connection in it, was lost while something was due.
    ConnectionLost,
    /// Its request could not be read.
    BadRequest,
    /// Its WebSocket handshake was wrong, or of an origin that may not connect.
    BadHandshake,
    /// Its WebSocket frames could not be read.
    BadFrame,
    /// Its stream broke the rules of XMPP, or a limit.
    BadStream,
    /// There was no PROXY header, or a wrong one.
    ProxyHeader,
    /// The TLS handshake failed.
    TlsHandshake,
    /// It did not do something in time.
    Timeout,
    /// It took none of its output in time.
    SlowReader,
    /// `max_input_buffer` was reached, and it had the most.
    InputBuffer,
    /// `max_client_buffer` was reached, or `max_output_buffer`, and it had the most.
    OutputBuffer,
}

/// Why a request for a session of another ECM was not answered by that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FleetFailure {
    /// No key of the fleet has signed the session's identifier.
    Forged,
    /// No peer has the name that is in it.
    Unknown,
    /// The peer can't be reached.
    Gone,
    /// The connection to the peer was just lost, or is not up yet: the client asks again.
    Lost,
}

impl Label for FleetFailure {
    const KEY: &'static str = "cause";
    const ALL: &'static [Self] = &[Self::Forged, Self::Unknown, Self::Gone, Self::Lost];

    fn name(self) -> &'static str {
        match self {
            Self::Forged => "forged",
            Self::Unknown => "unknown",
            Self::Gone => "gone",
            Self::Lost => "lost",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Reason {
    /// Why a stream ends with an error that is said here; nothing if that is nobody's fault.
    pub const fn of(condition: Condition) -> Option<Self> {
        match condition {
            Condition::SystemShutdown => None,
            Condition::RemoteConnectionFailed => Some(Self::ConnectionLost),
            Condition::ConnectionTimeout => Some(Self::Timeout),
            _ => Some(Self::BadStream),
        }
    }
}

impl Label for Reason {
    const KEY: &'static str = "reason";
    const ALL: &'static [Self] = &[
        Self::MaxConnections,
        Self::AddressConnections,
        Self::AddressConnectionRate,
        Self::AddressLoginRate,
        Self::LoginWait,
        Self::MaxSessions,
        Self::NoTrunk,
        Self::ConnectionLost,
        Self::BadRequest,
        Self::BadHandshake,
        Self::BadFrame,
        Self::BadStream,
        Self::ProxyHeader,
        Self::TlsHandshake,
        Self::Timeout,
        Self::SlowReader,
        Self::InputBuffer,
        Self::OutputBuffer,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::MaxConnections => "max_connections",
            Self::AddressConnections => "address_connections",
            Self::AddressConnectionRate => "address_connection_rate",
            Self::AddressLoginRate => "address_login_rate",
            Self::LoginWait => "login_wait",
            Self::MaxSessions => "max_sessions",
            Self::NoTrunk => "no_trunk",
            Self::ConnectionLost => "connection_lost",
            Self::BadRequest => "bad_request",
            Self::BadHandshake => "bad_handshake",
            Self::BadFrame => "bad_frame",
            Self::BadStream => "bad_stream",
            Self::ProxyHeader => "proxy_header",
            Self::TlsHandshake => "tls_handshake",
            Self::Timeout => "timeout",
            Self::SlowReader => "slow_reader",
            Self::InputBuffer => "input_buffer",
            Self::OutputBuffer => "output_buffer",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::moves::MoveResult;
    use super::*;

    #[track_caller]
    fn each_is_at_its_index<L: Label>() {
        for (n, value) in L::ALL.iter().enumerate() {
            assert_eq!(value.index(), n, "{}", value.name());
        }
    }

    #[test]
    fn each_value_has_a_number_of_its_own() {
        each_is_at_its_index::<Direction>();
        each_is_at_its_index::<ListenerKind>();
        each_is_at_its_index::<Transport>();
        each_is_at_its_index::<Reason>();
        each_is_at_its_index::<MoveResult>();
        let family = Family::<Direction, 2>::new();
        family.of(Direction::Out).add(3);
        let values: Vec<_> = family.values().collect();
        assert_eq!(values, [(Direction::In, 0), (Direction::Out, 3)]);
    }
}
