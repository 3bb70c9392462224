//! A trunk that speaks version 1.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use megaphone_trunk::v1::{
    ConnectionId, Decoder, Event, HEADER_LEN, MaxFrameSize, put_close, put_content,
};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use super::budget::OutputBudget;
use super::dial::{Reader, Writer};
use super::lost::Lost;
use super::mailbox::{End, Mailbox};
use super::queue::{Batch, Room, SendQueue};
use super::usage::{Kind, Usage};
use super::{Sent, TrunkLost};
use crate::ids::IdSource;
use crate::metrics::{Direction, TRUNK_BYTES};
use crate::panics::caught;

/// How much is read from a trunk at once.
const READ_SIZE: usize = 256 * 1024;
/// How much a buffer of the writer keeps for the next batch.
const KEPT_BATCH: usize = 256 * 1024;

/// One trunk and its connections.
#[derive(Debug)]
pub struct Framer {
    max_frame_size: MaxFrameSize,
    budget: Arc<OutputBudget>,
    /// The same in all trunks to this ejabberd.
    usage: Arc<Usage>,
    queue: SendQueue,
    /// The connections that are open; `None` once the trunk is lost.
    mailboxes: Mutex<Option<HashMap<ConnectionId, Arc<Mailbox>>>>,
}

impl Framer {
    /// A trunk without connections.
    pub fn new(max_frame_size: MaxFrameSize, budget: Arc<OutputBudget>, usage: Arc<Usage>) -> Self {
        Self {
            max_frame_size,
            budget,
            usage,
            queue: SendQueue::new(),
            mailboxes: Mutex::new(Some(HashMap::new())),
        }
    }

    /// Opens a connection; ejabberd hears of it with its first content.
    ///
    /// # Errors
    /// [`TrunkLost`] if the trunk is lost by now.
    pub fn open(self: &Arc<Self>, ids: &IdSource) -> Result<Channel, TrunkLost> {
        let id = ids.next();
        let mailbox = Arc::new(Mailbox::new(Arc::clone(&self.budget)));
        let mut mailboxes = self.mailboxes.lock();
        mailboxes
            .as_mut()
            .ok_or(TrunkLost)?
            .insert(id, Arc::clone(&mailbox));
        drop(mailboxes);
        self.usage.add(Kind::Request);
        Ok(Channel {
            framer: Arc::clone(self),
            id,
            mailbox,
            known: Known::No,
            room: None,
        })
    }

    /// Says the first frame: ejabberd ends a trunk that says none, and no client may come for long. It
    /// closes a connection that never was, which means nothing.
    pub fn greet(&self, ids: &IdSource) {
        self.queue.put_urgent(|out| put_close(out, &ids.next()));
    }

    /// Reads and writes the trunk until one of the two is not possible any more, or until
    /// [`finish`](Self::finish) and all is written. Then all connections end. Returns why.
    pub async fn run(self: Arc<Self>, reader: Reader, writer: Writer) -> Lost {
        // A task of its own, so that one processor can read while another one writes. It ends with
        // the set.
        let mut writing = JoinSet::new();
        let framer = Arc::clone(&self);
        writing.spawn(async move { framer.write(writer).await });
        let lost = tokio::select! {
            read = caught(self.read(reader)) => read.unwrap_or_else(Lost::from),
            written = writing.join_next() => Lost::of_task(written),
        };
        self.lose();
        lost
    }

    /// Ends it with all its connections.
    pub fn lose(&self) {
        self.queue.close();
        let mailboxes = self.mailboxes.lock().take();
        for mailbox in mailboxes.unwrap_or_default().into_values() {
            mailbox.end(End::TrunkLost);
        }
    }

    /// Whether new connections may come here.
    pub fn is_accepting(&self) -> bool {
        self.mailboxes.lock().is_some()
    }

    /// How many connections are open.
    pub fn load(&self) -> usize {
        self.mailboxes.lock().as_ref().map_or(0, HashMap::len)
    }

    /// The output of its connections that waits for their clients.
    pub fn mailboxes(&self) -> Vec<Arc<Mailbox>> {
        let mailboxes = self.mailboxes.lock();
        mailboxes
            .iter()
            .flat_map(HashMap::values)
            .cloned()
            .collect()
    }

    /// Ends the trunk once all that waits is written.
    pub fn finish(&self) {
        self.queue.finish();
    }
}

impl Framer {
    async fn read(&self, mut reader: Reader) -> Lost {
        let mut decoder = Decoder::new(self.max_frame_size);
        let mut buffer = vec![0; READ_SIZE];
        loop {
            let length = match reader.read(&mut buffer).await {
                Ok(0) if decoder.is_between_frames() => return Lost::Closed,
                Ok(0) => {
                    return Lost::ClosedInFrame {
                        offset: decoder.offset(),
                    };
                }
                Ok(length) => length,
                Err(error) => return Lost::Read(error),
            };
            TRUNK_BYTES.of(Direction::Out).add(length as u64);
            for event in decoder.decode(&buffer[..length]) {
                match event {
                    Ok(event) => self.handle(event),
                    Err(error) => return error.into(),
                }
            }
        }
    }

    fn handle(&self, event: Event<'_>) {
        match event {
            Event::Content { id, bytes, part: _ } => match self.mailbox(&id) {
                Some(mailbox) => mailbox.put(bytes),
                // Ids are never used again, so this was closed here while ejabberd was sending.
                None => {
                    tracing::trace!(%id, bytes = bytes.len(), "content for a closed connection");
                }
            },
            Event::Close { id } => {
                let mailbox = self
                    .mailboxes
                    .lock()
                    .as_mut()
                    .and_then(|open| open.remove(&id));
                if let Some(mailbox) = mailbox {
                    mailbox.end(End::Closed);
                }
            }
        }
    }

    fn mailbox(&self, id: &ConnectionId) -> Option<Arc<Mailbox>> {
        self.mailboxes.lock().as_ref()?.get(id).cloned()
    }

    async fn write(&self, mut writer: Writer) -> Lost {
        let mut batch = Vec::new();
        loop {
            let Batch::Bytes { room } = self.queue.take(&mut batch).await else {
                return match writer.shutdown().await {
                    Ok(()) => Lost::Finished,
                    Err(error) => Lost::Write(error),
                };
            };
            if let Err(error) = writer.write_all(&batch).await {
                return Lost::Write(error);
            }
            TRUNK_BYTES.of(Direction::In).add(batch.len() as u64);
            self.queue.written(room);
            batch.clear();
            batch.shrink_to(KEPT_BATCH);
        }
    }
}

/// A virtual connection in a trunk. Dropping it closes it.
#[derive(Debug)]
pub struct Channel {
    framer: Arc<Framer>,
    id: ConnectionId,
    mailbox: Arc<Mailbox>,
    known: Known,
    /// The request for room of content that was refused. It is kept from one attempt to the next, as a new request goes
    /// to the end of the queue.
    room: Option<Box<RoomAsked>>,
}

/// Whether ejabberd knows of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    No,
    Yes,
}

/// Room that was asked for.
enum RoomAsked {
    Coming(Pin<Box<dyn Future<Output = Result<Room, TrunkLost>> + Send>>),
    Here(Room),
}

impl Channel {
    /// The connection's id, for logs.
    pub const fn id(&self) -> ConnectionId {
        self.id
    }

    /// Sends content if there is room for it; what is refused has to come again before anything else.
    ///
    /// # Errors
    /// [`TrunkLost`]; the mailbox says so too, after what still came.
    pub fn try_send(&mut self, content: &[u8]) -> Result<Sent, TrunkLost> {
        let bytes = self.framed(content.len());
        let asked = self
            .room
            .take_if(|room| matches!(**room, RoomAsked::Here(_)));
        let room = match asked.map(|room| *room) {
            Some(RoomAsked::Here(room)) if room.is_for(bytes) => Some(room),
            _ if self.room.is_some() => return Ok(Sent::Refused),
            _ => self.framer.queue.try_room(bytes)?,
        };
        let Some(room) = room else {
            let framer = Arc::clone(&self.framer);
            let coming = Box::pin(async move { framer.queue.room(bytes).await });
            self.room = Some(Box::new(RoomAsked::Coming(coming)));
            return Ok(Sent::Refused);
        };
        let max = self.framer.max_frame_size;
        let put = |out: &mut Vec<u8>| put_content(out, &self.id, content, max);
        self.framer.queue.put(room, put);
        self.known = Known::Yes;
        Ok(Sent::Sent)
    }

    /// See [`Mailbox::poll_changed`]; ready too when there is room that content was refused for.
    pub fn poll_changed(&mut self, context: &Context<'_>) -> Poll<()> {
        if let Some(RoomAsked::Coming(room)) = self.room.as_deref_mut() {
            let mut context = Context::from_waker(context.waker());
            if let Poll::Ready(room) = room.as_mut().poll(&mut context) {
                self.room = room.ok().map(|room| Box::new(RoomAsked::Here(room)));
                return Poll::Ready(());
            }
        }
        self.mailbox.poll_changed(context)
    }

    /// What comes for the client.
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Content's length with the headers of its frames.
    fn framed(&self, content_len: usize) -> usize {
        let frames = content_len.div_ceil(self.framer.max_frame_size.max_content());
        content_len.saturating_add(frames.saturating_mul(HEADER_LEN))
    }
}

impl fmt::Debug for RoomAsked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Coming(_) => "Coming",
            Self::Here(_) => "Here",
        })
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.framer.usage.remove(Kind::Request);
        if let Some(open) = self.framer.mailboxes.lock().as_mut() {
            open.remove(&self.id);
        } else {
            return;
        }
        // ejabberd's close is answered too: it lets ejabberd forget the id.
        if self.known == Known::Yes {
            self.framer.queue.put_urgent(|out| put_close(out, &self.id));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::config::LimitsConfig;

    #[tokio::test]
    async fn content_that_was_refused_has_room_before_content_that_comes_later() {
        let budget = Arc::new(OutputBudget::new(&LimitsConfig::default()));
        let framer = Arc::new(Framer::new(MaxFrameSize::DEFAULT, budget, Arc::default()));
        let ids = IdSource::new().unwrap();
        let [mut first, mut second] = [(); 2].map(|()| framer.open(&ids).unwrap());
        // As much as there is at the most.
        let all = framer.queue.try_room(usize::MAX).unwrap().unwrap();
        assert_eq!(first.try_send(b"first"), Ok(Sent::Refused));
        assert_eq!(first.try_send(b"first"), Ok(Sent::Refused));
        let changed = poll_fn(|context| first.poll_changed(context));
        tokio::pin!(changed);
        assert!(poll_once(changed.as_mut()).await.is_pending());
        drop(all);
        // What is left of it is kept for the first.
        let most = framer.queue.try_room(usize::MAX).unwrap();
        assert!(most.is_none());
        changed.await;
        assert_eq!(first.try_send(b"first"), Ok(Sent::Sent));
        assert_eq!(second.try_send(b"second"), Ok(Sent::Sent));
        framer.queue.close();
        assert_eq!(second.try_send(b"second"), Err(TrunkLost));
    }

    async fn poll_once<F: Future<Output = ()>>(mut future: Pin<&mut F>) -> Poll<()> {
        poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
    }
}
