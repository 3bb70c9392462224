//! What a connection tells processes, and why it can end.

use megaphone_http::packet::Packet;

use crate::handle::Handle;

/// A process of the VM, or a stand-in for one in a test: a value that is copied and compared.
pub trait Process: Copy + Eq + std::hash::Hash + Send + 'static {}

impl<P: Copy + Eq + std::hash::Hash + Send + 'static> Process for P {}

/// Why an operation failed or a connection ended; [`Reason::name`] is the POSIX-like atom that
/// gen_tcp would answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// The connection is closed, by either side.
    Closed,
    /// The connection broke: its trunk was lost, or it held too much of the trunk's buffer.
    ConnectionReset,
    /// The call does not fit the socket's state: a recv on an active socket.
    Invalid,
    /// Another process waits in recv already.
    Already,
    /// More than 64 MiB were asked for in one recv.
    NoMemory,
    /// A packet (an HTTP line) is longer than the decoder takes.
    MessageSize,
}

impl Reason {
    /// The atom's text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ConnectionReset => "econnreset",
            Self::Invalid => "einval",
            Self::Already => "ealready",
            Self::NoMemory => "enomem",
            Self::MessageSize => "emsgsize",
        }
    }
}

/// One piece of input: what recv answers and what an active socket's message carries.
#[derive(Debug)]
pub enum Piece<'a> {
    /// Bytes, in packet mode raw.
    Bytes(&'a [u8]),
    /// A decoded line, in the http packet modes.
    Packet(&'a Packet<'a>, Text),
}

/// How the strings inside an HTTP packet are given: `http` as lists, `http_bin` as binaries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Text {
    /// Erlang strings.
    List,
    /// Erlang binaries.
    Binary,
}

/// A message to the owner of an active socket, in the terms of inet's active mode.
#[derive(Debug)]
pub enum Delivery<'a> {
    /// `{tcp, S, Data}`, or `{http, S, Packet}` in the http modes.
    Data(Piece<'a>),
    /// `{tcp_passive, S}`: the count of `{active, N}` is used up.
    Passive,
    /// `{tcp_closed, S}`.
    Closed,
    /// `{tcp_error, S, Reason}`.
    Error(Reason),
}

/// Where messages go. A `wake` may be sent later, once no lock is held; a `deliver` must be sent
/// before it returns, since only the connection's lock keeps the data of two deliveries in order.
pub trait Sink<P> {
    /// Tells a process that waits in recv or send, or the trunk's writer, to look again.
    /// `number` is what it was told to wait for; [`WRITER`] for the writer.
    fn wake(&mut self, process: P, number: u64);

    /// Sends an active socket's message to its owner.
    fn deliver(&mut self, owner: P, handle: Handle, delivery: Delivery<'_>);
}

/// The number in a writer's wake.
pub const WRITER: u64 = 0;
