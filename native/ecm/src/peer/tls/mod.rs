//! A client's socket with TLS.
//!
//! rustls is used without its own buffers: what is read goes through the thread's buffer, and a client
//! keeps no more than the part of a record that has come, and the bytes that the system did not take.

mod layer;
mod names;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use megaphone_trunk::proxy::{self, ChannelBindings};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::UnbufferedServerConnection;

pub use self::layer::HandshakeError;
pub(super) use self::layer::Layer;
use self::layer::WRITE_SIZE;
use self::names::{cipher_name, version_name};
use crate::backlog::Backlogs;
use crate::channel_binding::Handshake;

/// A socket whose bytes are encrypted.
pub struct TlsSocket {
    stream: TcpStream,
    layer: Layer,
}

impl TlsSocket {
    /// Does a handshake in which the client has sent `input` so far. What has come of it in part counts among the
    /// `backlogs`. What is said in it `handshake` hears. Gives the socket and the first bytes that the client sent by
    /// it.
    ///
    /// # Errors
    /// [`HandshakeError`], with the socket, on which an alert was sent if the client should get one.
    pub async fn accept(
        mut stream: TcpStream,
        config: Arc<ServerConfig>,
        mut input: Vec<u8>,
        mut handshake: Option<Handshake>,
        backlogs: &Arc<Backlogs>,
    ) -> Result<(Self, Vec<u8>), (HandshakeError, TcpStream)> {
        let mut layer = match UnbufferedServerConnection::new(config) {
            Ok(connection) => Layer::new(connection),
            Err(error) => return Err((error.into(), stream)),
        };
        let mut plaintext = Vec::new();
        match layer
            .shake_hands(
                &mut stream,
                &mut input,
                &mut plaintext,
                &mut handshake,
                backlogs,
            )
            .await
        {
            Ok(()) => {
                let suite = layer.connection.negotiated_cipher_suite();
                layer.bindings = handshake
                    .zip(suite)
                    .map(|(handshake, suite)| Box::new(handshake.bindings(suite)));
                Ok((Self { stream, layer }, plaintext))
            }
            Err(error) => {
                // The alert; the socket of a client so young has room for it.
                let _ = layer.flush(&stream);
                Err((error, stream))
            }
        }
    }

    /// What ejabberd is told of it.
    #[must_use]
    pub fn describe(&self) -> proxy::Tls {
        let connection = &self.layer.connection;
        proxy::Tls {
            version: connection.protocol_version().map(version_name),
            cipher: connection
                .negotiated_cipher_suite()
                .map(|suite| cipher_name(suite.suite())),
            ..proxy::Tls::default()
        }
    }

    /// The certificates that the client showed.
    pub(super) fn shown_by_client(&self) -> &[CertificateDer<'static>] {
        self.layer.connection.peer_certificates().unwrap_or(&[])
    }

    /// The channel bindings of the client's TLS, for the first call.
    pub(super) fn take_bindings(&mut self) -> ChannelBindings {
        let bindings = self.layer.bindings.take();
        bindings.map_or_else(ChannelBindings::default, |it| *it)
    }

    /// Reads into `buffer`, which is longer than any record, until there is something or the client's end,
    /// which is 0.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        // What a record says is shorter than the record.
        let room = buffer.len().saturating_sub(self.layer.unread.len());
        let mut filled = 0;
        let (mut reader, _writer) = self.stream.split();
        self.layer
            .poll_read(&mut reader, context, room, &mut |bytes| {
                if let Some(place) = buffer.get_mut(filled..filled + bytes.len()) {
                    place.copy_from_slice(bytes);
                    filled += bytes.len();
                }
            })
    }

    pub(super) const fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn split(&mut self) -> (&mut TcpStream, &mut Layer) {
        (&mut self.stream, &mut self.layer)
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.layer.unsent.is_empty()
    }

    /// How many bytes of a record have come that is not whole.
    pub(super) const fn unread(&self) -> usize {
        self.layer.unread.capacity()
    }

    /// Gives the system what it did not take before.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.layer.flush(&self.stream)
    }

    /// Takes bytes to be encrypted, once all before them are sent; how many.
    pub(super) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        if self.has_unsent() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let piece = bytes.get(..WRITE_SIZE).unwrap_or(bytes);
        self.layer
            .send(&self.stream, |mut traffic, out| traffic.encrypt(piece, out))?;
        Ok(piece.len())
    }

    /// Says that nothing more will be sent.
    pub(super) fn close_notify(&mut self) -> io::Result<()> {
        self.layer.send(&self.stream, |mut traffic, out| {
            traffic.queue_close_notify(out)
        })
    }
}

impl fmt::Debug for TlsSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsSocket").field(&self.stream).finish()
    }
}
