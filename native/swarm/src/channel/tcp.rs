//! XML streams over TCP (RFC 6120).

use std::collections::VecDeque;

use bytes::Bytes;
use megaphone_xmpp::Limits;
use megaphone_xmpp::stream::{Event, Reader, StreamError};
use tokio::io::AsyncWriteExt as _;

use super::socket::Socket;
use super::{Channel, ChannelError, MAX_DOCUMENT, Route, Security};

/// A client with an XML stream.
pub struct Tcp {
    socket: Socket,
    inbox: Inbox,
}

/// What came and was not asked for yet.
struct Inbox {
    reader: Reader,
    documents: VecDeque<Bytes>,
    is_open: bool,
    is_closed: bool,
}

impl Inbox {
    fn new() -> Self {
        let limits = Limits {
            max_document: MAX_DOCUMENT,
            ..Limits::default()
        };
        Self {
            reader: Reader::new(limits),
            documents: VecDeque::new(),
            is_open: false,
            is_closed: false,
        }
    }

    fn feed(&mut self, mut input: &[u8]) -> Result<(), StreamError> {
        while let Some(event) = self.reader.read(&mut input)? {
            match event {
                Event::Open(_) => self.is_open = true,
                Event::Document(document) => self.documents.push_back(document.to_vec().into()),
                Event::Close => self.is_closed = true,
            }
        }
        Ok(())
    }
}

impl Tcp {
    /// Connects, with TLS if the route says so: STARTTLS is done here too.
    ///
    /// # Errors
    /// [`ChannelError`]
    pub async fn connect(route: &Route, domain: &str) -> Result<Self, ChannelError> {
        let socket = match &route.security {
            Security::Tls(config) => route.dialler.dial_tls(config, domain).await?,
            Security::Plain | Security::StartTls(_) => route.dialler.dial().await?,
        };
        let mut plain = Self {
            socket,
            inbox: Inbox::new(),
        };
        let Security::StartTls(config) = &route.security else {
            return Ok(plain);
        };
        plain.open(domain).await?;
        plain.recv().await?;
        plain
            .send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            .await?;
        let answer = plain.recv().await?;
        if !answer.starts_with(b"<proceed") {
            return Err(ChannelError::protocol(format!(
                "STARTTLS was answered by {}",
                String::from_utf8_lossy(&answer)
            )));
        }
        Ok(Self {
            socket: plain.socket.into_tls(config, domain).await?,
            inbox: Inbox::new(),
        })
    }

    async fn read(&mut self) -> Result<(), ChannelError> {
        if self.inbox.is_closed {
            return Err(ChannelError::closed());
        }
        let mut fed = Ok(());
        let inbox = &mut self.inbox;
        let length = self.socket.read(|bytes| fed = inbox.feed(bytes)).await?;
        fed.map_err(|error| ChannelError::protocol(error.to_string()))?;
        match length {
            0 => Err(ChannelError::closed()),
            _ => Ok(()),
        }
    }
}

impl Channel for Tcp {
    async fn open(&mut self, domain: &str) -> Result<(), ChannelError> {
        self.inbox.reader.restart();
        self.inbox.is_open = false;
        let header = format!(
            "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' \
             xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        );
        self.socket.write(header.as_bytes()).await?;
        while !self.inbox.is_open {
            self.read().await?;
        }
        Ok(())
    }

    async fn send(&mut self, document: &str) -> Result<(), ChannelError> {
        Ok(self.socket.write(document.as_bytes()).await?)
    }

    async fn recv(&mut self) -> Result<Bytes, ChannelError> {
        loop {
            if let Some(document) = self.inbox.documents.pop_front() {
                if self.inbox.documents.is_empty() {
                    self.inbox.documents = VecDeque::new();
                }
                return Ok(document);
            }
            self.read().await?;
        }
    }

    async fn keep_alive(&mut self) -> Result<bool, ChannelError> {
        self.socket.write(b" ").await?;
        Ok(false)
    }

    async fn close(mut self) {
        if self.socket.write(b"</stream:stream>").await.is_ok() {
            while self.read().await.is_ok() {}
        }
        // The server may have closed it.
        let _ = self.socket.shutdown().await;
    }
}
