//! A client that another ECM hands on: its socket is a stream of the connection between the two.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::trunk::{Delivery, End, Sent, Stream};

/// How much is written at once. A stream takes all of it or nothing.
const WRITE_SIZE: usize = 32 * 1024;

/// The socket. Both of its directions can be waited for at once.
#[derive(Debug)]
pub struct HandedSocket(Mutex<State>);

#[derive(Debug)]
struct State {
    /// There is none any more once it was reset.
    connection: Option<Stream>,
    /// What was taken of it and not read.
    rest: Bytes,
}

impl HandedSocket {
    /// The socket of this stream.
    pub const fn new(connection: Stream) -> Self {
        Self(Mutex::new(State {
            connection: Some(connection),
            rest: Bytes::new(),
        }))
    }

    /// The next bytes, at most as many as asked for; none when the client has closed its side.
    pub fn poll_take(&self, context: &Context<'_>, most: usize) -> Poll<io::Result<Bytes>> {
        let mut stream = self.0.lock();
        if stream.rest.is_empty() {
            stream.rest = ready!(stream.poll_next(context))?;
        }
        let length = stream.rest.len().min(most);
        Poll::Ready(Ok(stream.rest.split_to(length)))
    }

    /// Writes as much as there is room for.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = bytes.get(..WRITE_SIZE).unwrap_or(bytes);
        let mut stream = self.0.lock();
        let connection = stream.connection.as_mut().ok_or_else(gone)?;
        match connection.try_send(bytes) {
            Ok(Sent::Sent) => Ok(bytes.len()),
            Ok(Sent::Refused) => Err(io::ErrorKind::WouldBlock.into()),
            Err(_lost) => Err(gone()),
        }
    }

    /// Whether there may be room that there was not.
    pub fn poll_writable(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        match &self.0.lock().connection {
            Some(connection) => connection.mailbox().poll_changed(context).map(Ok),
            None => Poll::Ready(Err(gone())),
        }
    }

    /// Nothing more is written.
    pub fn finish(&self) {
        if let Some(connection) = &mut self.0.lock().connection {
            connection.finish();
        }
    }

    /// The client has to see that it does not get all.
    pub fn reset(&self) {
        if let Some(connection) = self.0.lock().connection.take() {
            connection.abort();
        }
    }
}

impl State {
    fn poll_next(&mut self, context: &Context<'_>) -> Poll<io::Result<Bytes>> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Err(gone()));
        };
        loop {
            match connection.mailbox().take() {
                Delivery::Content(piece) => {
                    connection.delivered(piece.len());
                    return Poll::Ready(Ok(piece));
                }
                Delivery::End(End::Closed) => return Poll::Ready(Ok(Bytes::new())),
                Delivery::End(_) => return Poll::Ready(Err(gone())),
                Delivery::Nothing => ready!(connection.mailbox().poll_changed(context)),
            }
        }
    }
}

/// The client, or the ECM that has its connection, is gone.
fn gone() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
