//! One connection of a BOSH client: a request, and the wait for its answer. If the connection is lost before the
//! answer, the request is sent again on another one (XEP-0124, 14.1), wherever that leads.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

use crate::channel::socket::Socket;
use crate::channel::{ChannelError, MAX_DOCUMENT, Route, Security};

/// How often a request is sent again before the session counts as lost.
const MOST_REPETITIONS: u32 = 20;

/// How much longer each repetition waits than the one before it.
const LATER: Duration = Duration::from_millis(20);

const BAD_GATEWAY: u16 = 502;

/// One connection.
pub struct Line {
    /// None while it is lost, or written to.
    socket: Option<Socket>,
    request: Option<Request>,
    /// What came of its answer.
    answer: Vec<u8>,
}

/// A request without an answer.
struct Request {
    rid: u64,
    bytes: Vec<u8>,
    is_written: bool,
    repetitions_left: u32,
}

/// Why there is no answer.
enum Trouble {
    /// The connection is lost, or whoever answers can't reach the session now.
    Lost(ChannelError),
    /// There won't be one.
    Final(ChannelError),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Lost(error.into())
    }
}

impl Line {
    /// Connects.
    ///
    /// # Errors
    /// [`ChannelError`]
    pub async fn connect(route: &Route, domain: &str) -> Result<Self, ChannelError> {
        Ok(Self {
            socket: Some(connect(route, domain).await?),
            request: None,
            answer: Vec::new(),
        })
    }

    /// Whether it waits for an answer.
    pub const fn waits(&self) -> bool {
        self.request.is_some()
    }

    /// Sends a request. Where that fails, [`answer`](Self::answer) sends it again if it `may_repeat` it.
    pub async fn ask(&mut self, rid: u64, bytes: Vec<u8>, may_repeat: bool) {
        self.request = Some(Request {
            rid,
            bytes,
            is_written: false,
            repetitions_left: if may_repeat { MOST_REPETITIONS } else { 0 },
        });
        if self.socket.is_some() {
            let _ = self.write().await;
        }
    }

    /// The whole answer, and which request it is to. Nothing is lost if the call is dropped.
    ///
    /// # Errors
    /// [`ChannelError`] if there won't be one.
    pub async fn answer(
        &mut self,
        route: &Route,
        domain: &str,
    ) -> Result<(u64, Bytes), ChannelError> {
        loop {
            let error = match self.try_answer(route, domain).await {
                Ok(body) => {
                    let request = self.request.take();
                    let request =
                        request.ok_or_else(|| ChannelError::protocol("an answer to nothing"))?;
                    return Ok((request.rid, body));
                }
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Lost(error)) => error,
            };
            self.socket = None;
            self.answer = Vec::new();
            let left = match &mut self.request {
                Some(request) if request.repetitions_left > 0 => {
                    request.is_written = false;
                    request.repetitions_left -= 1;
                    request.repetitions_left
                }
                _ => return Err(error),
            };
            sleep(LATER * (MOST_REPETITIONS - 1 - left)).await;
        }
    }

    async fn try_answer(&mut self, route: &Route, domain: &str) -> Result<Bytes, Trouble> {
        if self.socket.is_none() {
            // In a box, or an idle client would keep the room that TLS takes as it begins.
            let connected = Box::pin(connect(route, domain)).await;
            self.socket = Some(connected.map_err(Trouble::Lost)?);
        }
        self.write().await?;
        let Self { socket, answer, .. } = self;
        let Some(socket) = socket else {
            return Err(Trouble::Lost(ChannelError::closed()));
        };
        loop {
            if let Some(body) = take_body(answer)? {
                return Ok(body);
            }
            if socket.read(|bytes| answer.extend_from_slice(bytes)).await? == 0 {
                return Err(Trouble::Lost(ChannelError::closed()));
            }
        }
    }

    /// Writes the request, if that is due. If the call is dropped, so is the socket: it may have a part of it.
    async fn write(&mut self) -> std::io::Result<()> {
        if let Some(request) = self.request.as_mut().filter(|it| !it.is_written)
            && let Some(mut socket) = self.socket.take()
        {
            socket.write(&request.bytes).await?;
            request.is_written = true;
            self.socket = Some(socket);
        }
        Ok(())
    }

    /// Closes it.
    pub async fn close(&mut self) {
        if let Some(socket) = &mut self.socket {
            // The server may have closed it.
            let _ = socket.shutdown().await;
        }
    }
}

async fn connect(route: &Route, domain: &str) -> Result<Socket, ChannelError> {
    match &route.security {
        Security::Tls(config) => Ok(route.dialler.dial_tls(config, domain).await?),
        Security::Plain => Ok(route.dialler.dial().await?),
        Security::StartTls(_) => Err(ChannelError::protocol("STARTTLS is for XML streams alone")),
    }
}

/// The body of an answer that is there whole.
fn take_body(bytes: &mut Vec<u8>) -> Result<Option<Bytes>, Trouble> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(no_answer(format!("no HTTP answer: {error}"))),
    };
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| {
            std::str::from_utf8(header.value)
                .ok()?
                .parse::<usize>()
                .ok()
        })
        .filter(|length| *length <= MAX_DOCUMENT)
        .ok_or_else(|| no_answer("an answer without a usable Content-Length".to_owned()))?;
    let Some(body) = bytes.get(head..head + length) else {
        return Ok(None);
    };
    let body = Bytes::copy_from_slice(body);
    match response.code.unwrap_or(0) {
        200 => {}
        code => {
            let text = String::from_utf8_lossy(&body);
            let error = ChannelError::protocol(format!("HTTP {code}: {text}"));
            return Err(match code {
                // Whoever answers can't reach the session (XEP-0124, 17.3).
                BAD_GATEWAY => Trouble::Lost(error),
                _ => Trouble::Final(error),
            });
        }
    }
    bytes.drain(..head + length);
    if bytes.is_empty() {
        *bytes = Vec::new();
    }
    Ok(Some(body))
}

fn no_answer(why: String) -> Trouble {
    Trouble::Final(ChannelError::protocol(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_when_it_is_whole() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n<body/>HTTP/1.1 200 OK\r\n";
        let end = answer.len() - b"HTTP/1.1 200 OK\r\n".len();
        for cut in 0..end {
            let mut bytes = answer[..cut].to_vec();
            assert!(
                take_body(&mut bytes).is_ok_and(|body| body.is_none()),
                "{cut}"
            );
        }
        let mut bytes = answer.to_vec();
        let body = take_body(&mut bytes).ok().flatten();
        assert_eq!(body.as_deref(), Some(&b"<body/>"[..]));
        assert_eq!(bytes, b"HTTP/1.1 200 OK\r\n");
    }
}
