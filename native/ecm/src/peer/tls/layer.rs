//! The encryption of one socket.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use megaphone_trunk::proxy::ChannelBindings;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;
use tokio_rustls::rustls;
use tokio_rustls::rustls::server::UnbufferedServerConnection;
use tokio_rustls::rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, InsufficientSizeError, UnbufferedStatus,
};

use crate::backlog::{Backlog, Backlogs, Evicted};
use crate::channel_binding::Handshake;

/// How much is encrypted at once: what the system does not take of it waits in the client's memory.
pub(super) const WRITE_SIZE: usize = 16 * 1024;

/// What a record adds to that at the most (RFC 5246, section 6.2.3).
const RECORD_OVERHEAD: usize = 5 + 2048;

/// How much is read at once.
const READ_SIZE: usize = 64 * 1024;

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_SIZE]);
    static WRITE_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; WRITE_SIZE + RECORD_OVERHEAD]);
}

/// The encryption of one socket.
pub struct Layer {
    pub(super) connection: UnbufferedServerConnection,
    /// The part of a record that has come.
    pub(super) unread: Vec<u8>,
    /// What is encrypted and was not taken by the system.
    pub(super) unsent: Vec<u8>,
    input: Input,
    /// Until they are asked for.
    pub(super) bindings: Option<Box<ChannelBindings>>,
}

/// Why a client got no TLS.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// It is against the protocol, or there is nothing that both sides speak.
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    /// The client has gone.
    #[error("the client left after {0} bytes of its handshake")]
    Left(usize),
    /// It has sent too much that waits.
    #[error("{0}")]
    Evicted(#[from] Evicted),
    /// The socket failed.
    #[error("{0}")]
    Socket(#[from] io::Error),
}

/// What may come from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    Open,
    /// It has said that it sends no more.
    Ended,
    /// What came can't be read, so nothing more can be said either, but why.
    Failed,
}

type WriteTraffic<'c> = rustls::unbuffered::WriteTraffic<'c, rustls::server::ServerConnectionData>;

impl Layer {
    pub(super) const fn new(connection: UnbufferedServerConnection) -> Self {
        Self {
            connection,
            unread: Vec::new(),
            unsent: Vec::new(),
            input: Input::Open,
            bindings: None,
        }
    }

    pub(super) async fn shake_hands(
        &mut self,
        stream: &mut TcpStream,
        input: &mut [u8],
        plaintext: &mut Vec<u8>,
        handshake: &mut Option<Handshake>,
        backlogs: &Arc<Backlogs>,
    ) -> Result<(), HandshakeError> {
        let mut backlog = Backlog::default();
        let mut received = input.len();
        self.take_heard(input, plaintext, handshake).1?;
        loop {
            self.flush(stream)?;
            if !self.connection.is_handshaking() {
                return Ok(());
            }
            if !self.unsent.is_empty() {
                stream.writable().await?;
                continue;
            }
            backlog.count(self.unread.capacity() + plaintext.capacity(), backlogs)?;
            let (mut reader, _writer) = stream.split();
            let (length, taken) = std::future::poll_fn(|context| {
                if backlog.poll_evicted(context).is_ready() {
                    return Poll::Ready(Err(HandshakeError::from(Evicted)));
                }
                READ_BUFFER.with_borrow_mut(|buffer| {
                    let length = ready!(poll_fill(&mut reader, context, buffer))?;
                    let bytes = buffer.get_mut(..length).unwrap_or_default();
                    let taken = self.take_heard(bytes, plaintext, handshake);
                    Poll::Ready(Ok((length, taken)))
                })
            })
            .await?;
            received += length;
            taken.1?;
            if length == 0 {
                return Err(HandshakeError::Left(received));
            }
        }
    }

    /// As [`take`](Self::take), during a handshake that is listened to. Everything that was to be sent before has been
    /// sent.
    fn take_heard(
        &mut self,
        bytes: &mut [u8],
        plaintext: &mut Vec<u8>,
        handshake: &mut Option<Handshake>,
    ) -> (usize, Result<(), rustls::Error>) {
        let mut feed = |bytes: &[u8]| plaintext.extend_from_slice(bytes);
        let Some(handshake) = handshake else {
            return self.take(bytes, &mut feed);
        };
        handshake.received(bytes);
        let taken = handshake.listen(|| self.take(bytes, &mut feed));
        handshake.sent(&self.unsent);
        taken
    }

    /// Reads, no more than `room` at once, until there is something for `feed`, or the client's end,
    /// which is 0.
    pub fn poll_read(
        &mut self,
        reader: &mut ReadHalf<'_>,
        context: &mut Context<'_>,
        room: usize,
        feed: &mut dyn FnMut(&[u8]),
    ) -> Poll<io::Result<usize>> {
        READ_BUFFER.with_borrow_mut(|buffer| {
            let room = room.min(buffer.len());
            let buffer = buffer.get_mut(..room).unwrap_or_default();
            while self.input == Input::Open {
                let length = ready!(poll_fill(reader, context, buffer))?;
                if length == 0 {
                    // A peer that closes without close_notify is treated as if it had sent it: each protocol
                    // above TLS has an end of its own.
                    self.input = Input::Ended;
                    break;
                }
                let bytes = buffer.get_mut(..length).unwrap_or_default();
                let (plaintext, result) = self.take(bytes, feed);
                // Alerts, and what the protocol answers by itself. If it can't be sent, what came can still be
                // read, and the next write fails.
                let _ = self.flush(reader.as_ref());
                if plaintext > 0 {
                    // What came before a fault counts, and the end is told next time.
                    return Poll::Ready(Ok(plaintext));
                }
                result.map_err(io::Error::other)?;
            }
            Poll::Ready(Ok(0))
        })
    }

    /// Takes bytes of the client; gives what they say to `feed`, and how much that was before what is wrong
    /// with them, if something is.
    fn take(
        &mut self,
        bytes: &mut [u8],
        feed: &mut dyn FnMut(&[u8]),
    ) -> (usize, Result<(), rustls::Error>) {
        if self.unread.is_empty() {
            let (used, fed, result) = self.process(bytes, feed);
            self.unread = bytes.get(used..).unwrap_or_default().to_vec();
            return (fed, result);
        }
        let mut unread = std::mem::take(&mut self.unread);
        unread.extend_from_slice(bytes);
        let (used, fed, result) = self.process(&mut unread, feed);
        if used < unread.len() {
            unread.drain(..used);
            unread.shrink_to_fit();
            self.unread = unread;
        }
        (fed, result)
    }

    /// How many of the bytes are done with, how many they gave to `feed`, and what is wrong with the rest.
    fn process(
        &mut self,
        bytes: &mut [u8],
        feed: &mut dyn FnMut(&[u8]),
    ) -> (usize, usize, Result<(), rustls::Error>) {
        let (mut used, mut fed) = (0, 0);
        let mut result = Ok(());
        loop {
            let rest = bytes.get_mut(used..).unwrap_or_default();
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(rest);
            let mut discard = discard;
            let goes_on = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        match record {
                            Ok(record) => {
                                discard += record.discard;
                                fed += record.payload.len();
                                feed(record.payload);
                            }
                            Err(error) => {
                                self.input = Input::Failed;
                                result = Err(error);
                            }
                        }
                    }
                    true
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.unsent, |out| data.encode(out)).is_some()
                }
                // It is on its way as soon as it is in `unsent`.
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    true
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.input = Input::Ended;
                    true
                }
                Ok(_) => false,
                // As long as there is something to send: the alert that tells the client why.
                Err(error) => {
                    self.input = Input::Failed;
                    result = Err(error);
                    true
                }
            };
            used += discard;
            if !goes_on || (result.is_err() && !self.connection.wants_write()) {
                return (used, fed, result);
            }
        }
    }

    /// Writes what an encryption gives, after what waits.
    pub(super) fn send(
        &mut self,
        stream: &TcpStream,
        mut encrypt: impl FnMut(WriteTraffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> io::Result<()> {
        let Self {
            connection,
            unread,
            unsent,
            input,
            bindings: _,
        } = self;
        if *input == Input::Failed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        WRITE_BUFFER.with_borrow_mut(|buffer| {
            let UnbufferedStatus { state, .. } = connection.process_tls_records(unread);
            let Ok(ConnectionState::WriteTraffic(traffic)) = state else {
                return Err(io::ErrorKind::NotConnected.into());
            };
            let length = encrypt(traffic, buffer).map_err(io::Error::other)?;
            let encrypted = buffer.get(..length).unwrap_or_default();
            let written = if unsent.is_empty() {
                taken(stream.try_write(encrypted))?
            } else {
                0
            };
            unsent.extend_from_slice(encrypted.get(written..).unwrap_or_default());
            Ok(())
        })
    }

    pub(super) fn flush(&mut self, stream: &TcpStream) -> io::Result<()> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let written = taken(stream.try_write(&self.unsent))?;
        if written == self.unsent.len() {
            self.unsent = Vec::new();
        } else {
            self.unsent.drain(..written);
        }
        Ok(())
    }
}

/// Appends what is encoded; `None` if it can't be.
fn encode(
    out: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Option<()> {
    let start = out.len();
    let needed = match write(&mut []) {
        Ok(_nothing) => return Some(()),
        Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
            required_size
        }
        Err(EncodeError::AlreadyEncoded) => return None,
    };
    out.resize(start + needed, 0);
    let written = write(out.get_mut(start..).unwrap_or_default()).ok()?;
    out.truncate(start + written);
    Some(())
}

/// What the system took, which may be nothing yet.
fn taken(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

fn poll_fill(
    reader: &mut ReadHalf<'_>,
    context: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(buffer);
    ready!(std::pin::Pin::new(reader).poll_read(context, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}
