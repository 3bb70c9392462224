//! Straight to ejabberd, as an ECM: sessions in a trunk of version 2. For more users than there are
//! sockets.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use megaphone_trunk::proxy::{self, Addresses, Header, Transport};
use megaphone_trunk::v2::{Config, Event, Session, StreamId, Tag, Written};
use megaphone_xmpp::framing::{Messages, put_message};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::time::{Duration, sleep};

use super::{
    Channel, ChannelError, MAX_DOCUMENT, Route, close_document, expect_open, open_document,
    standing_alone,
};

/// Bytes read from a trunk at once, and written.
const BATCH: usize = 256 << 10;

/// How often the session learns the time.
const TICK: Duration = Duration::from_secs(1);

/// One trunk, and the clients in it.
pub struct Trunk {
    state: Mutex<State>,
    output: Notify,
}

struct State {
    session: Session,
    /// By tag.
    inboxes: Inboxes,
    free: Vec<usize>,
    lost: Option<Arc<str>>,
}

type Inboxes = Vec<Option<Arc<Mutex<Inbox>>>>;

fn inbox_of(inboxes: &Inboxes, tag: Tag) -> Option<&Mutex<Inbox>> {
    inboxes.get(usize::try_from(tag).ok()?)?.as_deref()
}

/// What came for one client.
struct Inbox {
    messages: Messages,
    documents: VecDeque<Bytes>,
    end: Option<String>,
    /// A write was refused, and there is room again.
    writable: bool,
    waiting: Option<Waker>,
}

impl Trunk {
    /// Dials a trunk. It runs until it is lost.
    ///
    /// # Errors
    /// The socket's.
    pub async fn dial(route: &Route) -> io::Result<Arc<Self>> {
        let socket = route.dialler.dial().await?;
        let trunk = Arc::new(Self {
            state: Mutex::new(State {
                session: Session::client(Config::default(), 0),
                inboxes: Vec::new(),
                free: Vec::new(),
                lost: None,
            }),
            output: Notify::new(),
        });
        let (reader, writer) = tokio::io::split(socket);
        let running = Arc::clone(&trunk);
        tokio::spawn(async move {
            let reason = tokio::select! {
                reason = running.read(reader) => reason,
                reason = running.write(writer) => reason,
                reason = running.tick() => reason,
            };
            running.lose(&reason);
        });
        Ok(trunk)
    }

    async fn read(&self, mut reader: impl AsyncRead + Unpin) -> String {
        let mut buffer = vec![0; BATCH];
        loop {
            match reader.read(&mut buffer).await {
                Ok(0) => return "the trunk was closed".to_owned(),
                Ok(length) => {
                    if let Err(reason) = self.receive(&buffer[..length]) {
                        return reason;
                    }
                }
                Err(error) => return format!("the trunk was lost: {error}"),
            }
        }
    }

    fn receive(&self, bytes: &[u8]) -> Result<(), String> {
        let mut wakers = Vec::new();
        let mut consumed = Vec::new();
        let mut state = self.state.lock();
        let State {
            session, inboxes, ..
        } = &mut *state;
        let mut hand_on = |event: Event<'_>| {
            let (Event::Data { tag, .. }
            | Event::Finished { tag, .. }
            | Event::Reset { tag, .. }
            | Event::Writable { tag, .. }) = event
            else {
                return;
            };
            let Some(inbox) = inbox_of(inboxes, tag) else {
                return;
            };
            let mut inbox = inbox.lock();
            match event {
                Event::Data { id, bytes, .. } => {
                    consumed.push((id, bytes.len()));
                    inbox.feed(bytes);
                }
                Event::Finished { .. } => inbox.end = Some(String::new()),
                Event::Reset { cause, .. } => inbox.end = Some(format!(" ({})", cause.name())),
                _ => inbox.writable = true,
            }
            wakers.extend(inbox.waiting.take());
        };
        let received = session.receive(bytes, &mut hand_on);
        for (id, length) in consumed {
            // The stream may have ended since.
            let _ = session.consumed(id, length);
        }
        drop(state);
        self.output.notify_one();
        wakers.into_iter().for_each(Waker::wake);
        received.map_err(|error| error.to_string())
    }

    async fn write(&self, mut writer: impl AsyncWrite + Unpin) -> String {
        let mut batch = Vec::new();
        loop {
            // What others are about to send goes in the same write.
            tokio::task::yield_now().await;
            let mut wakers = Vec::new();
            {
                let mut state = self.state.lock();
                let State {
                    session, inboxes, ..
                } = &mut *state;
                session.take_output(BATCH, &mut batch, &mut |event: Event<'_>| {
                    if let Event::Writable { tag, .. } = event
                        && let Some(inbox) = inbox_of(inboxes, tag)
                    {
                        let mut inbox = inbox.lock();
                        inbox.writable = true;
                        wakers.extend(inbox.waiting.take());
                    }
                });
            }
            wakers.into_iter().for_each(Waker::wake);
            if batch.is_empty() {
                self.output.notified().await;
            } else if let Err(error) = writer.write_all(&batch).await {
                return format!("the trunk was lost: {error}");
            } else {
                batch.clear();
            }
        }
    }

    async fn tick(&self) -> String {
        let started = Instant::now();
        loop {
            sleep(TICK).await;
            let now = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            let ticked = self.state.lock().session.tick(now);
            if let Err(error) = ticked {
                return error.to_string();
            }
            self.output.notify_one();
        }
    }

    fn lose(&self, reason: &str) {
        let mut state = self.state.lock();
        state.lost = Some(reason.into());
        let inboxes = std::mem::take(&mut state.inboxes);
        drop(state);
        for inbox in inboxes.into_iter().flatten() {
            let mut inbox = inbox.lock();
            inbox.end = Some(format!(": {reason}"));
            let waiting = inbox.waiting.take();
            drop(inbox);
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    /// A client in this trunk, who says that it comes from `client`.
    ///
    /// # Errors
    /// [`ChannelError`] if the trunk is lost or takes no more streams.
    pub fn open(self: &Arc<Self>, client: SocketAddr) -> Result<TrunkChannel, ChannelError> {
        let header = Header {
            addresses: Addresses::Inet {
                source: client,
                destination: SocketAddr::from(([127, 0, 0, 1], 5222)),
            },
            alpn: Some(Bytes::from_static(b"xmpp-framing")),
            transport: Some(Transport::Tcp),
            ..Header::default()
        };
        let mut first = Vec::new();
        proxy::write(&header, &mut first);
        let inbox = Arc::new(Mutex::new(Inbox::new()));
        let mut state = self.state.lock();
        if let Some(reason) = &state.lost {
            return Err(ChannelError::Closed(format!(": {reason}")));
        }
        let tag = match state.free.pop() {
            Some(tag) => tag,
            None => {
                state.inboxes.push(None);
                state.inboxes.len() - 1
            }
        };
        state.inboxes[tag] = Some(Arc::clone(&inbox));
        let id = state
            .session
            .open(tag as u64, &first)
            .map_err(|error| ChannelError::protocol(error.to_string()))?;
        drop(state);
        self.output.notify_one();
        Ok(TrunkChannel {
            trunk: Arc::clone(self),
            inbox,
            id,
            tag,
        })
    }
}

impl Inbox {
    const fn new() -> Self {
        Self {
            messages: Messages::new(MAX_DOCUMENT),
            documents: VecDeque::new(),
            end: None,
            writable: false,
            waiting: None,
        }
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        loop {
            match self.messages.read(&mut bytes) {
                Ok(Some(document)) => self.documents.push_back(Bytes::copy_from_slice(document)),
                Ok(None) => return,
                Err(error) => {
                    self.end = Some(format!(": {error}"));
                    return;
                }
            }
        }
    }
}

/// A client with a session in a trunk.
pub struct TrunkChannel {
    trunk: Arc<Trunk>,
    inbox: Arc<Mutex<Inbox>>,
    id: StreamId,
    tag: usize,
}

impl TrunkChannel {
    async fn write(&self, document: &str) -> Result<(), ChannelError> {
        let mut message = Vec::new();
        put_message(&mut message, document.as_bytes())
            .map_err(|error| ChannelError::protocol(error.to_string()))?;
        loop {
            let written = self.trunk.state.lock().session.write(self.id, &message);
            match written {
                Ok(Written::Taken) => break,
                Ok(Written::Refused) => self.room().await,
                Err(_gone) => return Err(ChannelError::closed()),
            }
        }
        self.trunk.output.notify_one();
        Ok(())
    }

    async fn room(&self) {
        poll_fn(|context| {
            let mut inbox = self.inbox.lock();
            if std::mem::take(&mut inbox.writable) || inbox.end.is_some() {
                return Poll::Ready(());
            }
            inbox.waiting = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Channel for TrunkChannel {
    async fn open(&mut self, domain: &str) -> Result<(), ChannelError> {
        self.write(&open_document(domain)).await?;
        expect_open(&self.recv().await?)
    }

    async fn send(&mut self, document: &str) -> Result<(), ChannelError> {
        self.write(&standing_alone(document)).await
    }

    async fn recv(&mut self) -> Result<Bytes, ChannelError> {
        poll_fn(|context| {
            let mut inbox = self.inbox.lock();
            if let Some(document) = inbox.documents.pop_front() {
                if inbox.documents.is_empty() {
                    inbox.documents = VecDeque::new();
                }
                return if document.starts_with(b"<close") {
                    Poll::Ready(Err(ChannelError::closed()))
                } else {
                    Poll::Ready(Ok(document))
                };
            }
            if let Some(end) = &inbox.end {
                return Poll::Ready(Err(ChannelError::Closed(end.clone())));
            }
            match &mut inbox.waiting {
                Some(waiting) => waiting.clone_from(context.waker()),
                None => inbox.waiting = Some(context.waker().clone()),
            }
            Poll::Pending
        })
        .await
    }

    async fn keep_alive(&mut self) -> Result<bool, ChannelError> {
        Err(ChannelError::protocol(
            "only its trunk keeps a session that is in one",
        ))
    }

    async fn close(mut self) {
        if self.write(&close_document()).await.is_ok() {
            while self.recv().await.is_ok() {}
        }
    }
}

impl Drop for TrunkChannel {
    fn drop(&mut self) {
        let mut state = self.trunk.state.lock();
        if state.lost.is_none() {
            // It is gone if both sides have finished.
            let _ = state.session.release(self.id);
            state.inboxes[self.tag] = None;
            state.free.push(self.tag);
        }
        drop(state);
        self.trunk.output.notify_one();
    }
}
