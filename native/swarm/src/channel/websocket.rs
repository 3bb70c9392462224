//! XMPP over WebSocket (RFC 7395), by a WebSocket library that this project has not written.

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::socket::Socket;
use super::{
    Channel, ChannelError, MAX_DOCUMENT, Route, Security, close_document, expect_open,
    open_document, standing_alone,
};

/// What the library reads at once, in bytes. Each client keeps a buffer of this size or of its longest document's.
const BUFFER: usize = 512;

/// A client with a WebSocket.
pub struct WebSocket {
    stream: WebSocketStream<Socket>,
}

impl WebSocket {
    /// Connects and shakes hands.
    ///
    /// # Errors
    /// [`ChannelError`]
    pub async fn connect(route: &Route, domain: &str) -> Result<Self, ChannelError> {
        let socket = match &route.security {
            Security::Tls(config) => route.dialler.dial_tls(config, domain).await?,
            Security::Plain => route.dialler.dial().await?,
            Security::StartTls(_) => {
                return Err(ChannelError::protocol("STARTTLS is for XML streams alone"));
            }
        };
        // The socket is encrypted already, if it is to be.
        let uri = format!("ws://{domain}{}", route.path);
        let mut request = uri.into_client_request().map_err(broken)?;
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", HeaderValue::from_static("xmpp"));
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER)
            .write_buffer_size(0)
            .max_message_size(Some(MAX_DOCUMENT));
        let connected =
            tokio_tungstenite::client_async_with_config(request, socket, Some(config)).await;
        let (stream, _response) = connected.map_err(broken)?;
        // The handshake leaves a large buffer. Nothing is lost with it, as the server waits for `<open/>`.
        let socket = stream.into_inner();
        let stream = WebSocketStream::from_raw_socket(socket, Role::Client, Some(config)).await;
        Ok(Self { stream })
    }
}

impl Channel for WebSocket {
    async fn open(&mut self, domain: &str) -> Result<(), ChannelError> {
        let open = Message::text(open_document(domain));
        self.stream.send(open).await.map_err(broken)?;
        expect_open(&self.recv().await?)
    }

    async fn send(&mut self, document: &str) -> Result<(), ChannelError> {
        let message = Message::text(standing_alone(document).into_owned());
        self.stream.send(message).await.map_err(broken)
    }

    async fn recv(&mut self) -> Result<Bytes, ChannelError> {
        loop {
            match self.stream.next().await {
                Some(Ok(Message::Text(text))) if text.starts_with("<close") => {
                    return Err(ChannelError::closed());
                }
                Some(Ok(Message::Text(text))) => return Ok(text.into()),
                // A ping: the answer is queued, and has to get out.
                Some(Ok(Message::Ping(_))) => self.stream.flush().await.map_err(broken)?,
                Some(Ok(Message::Pong(_))) => return Ok(Bytes::new()),
                Some(Ok(Message::Close(reason))) => {
                    let reason = reason.map(|frame| format!(" ({} {})", frame.code, frame.reason));
                    return Err(ChannelError::Closed(reason.unwrap_or_default()));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(broken(error)),
                None => return Err(ChannelError::closed()),
            }
        }
    }

    async fn keep_alive(&mut self) -> Result<bool, ChannelError> {
        self.stream
            .send(Message::Ping(Bytes::new()))
            .await
            .map_err(broken)?;
        Ok(true)
    }

    async fn close(mut self) {
        if self
            .stream
            .send(Message::text(close_document()))
            .await
            .is_ok()
        {
            while self.recv().await.is_ok() {}
            let _ = self.stream.close(None).await;
        }
    }
}

fn broken(error: tokio_tungstenite::tungstenite::Error) -> ChannelError {
    ChannelError::protocol(error.to_string())
}
