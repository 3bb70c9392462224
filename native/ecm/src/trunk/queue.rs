//! What waits to be written to a trunk, bounded in bytes.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::TrunkLost;

/// How many bytes may wait. Enough to keep a trunk busy while its writer is off the processor; with
/// more, clients would only wait in here instead of in their sockets.
const CAPACITY: usize = 1024 * 1024;

/// Bytes for a trunk, from all its connections, in the order they were put.
///
/// Content needs [`Room`], which is given out first come, first served, so no connection can keep
/// the others out.
#[derive(Debug)]
pub struct SendQueue {
    waiting: Mutex<Waiting>,
    changed: Notify,
    room: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// The room that these bytes take, which the writer gives back.
    room: usize,
    /// Nothing more will be put.
    finished: bool,
}

/// Room in a [`SendQueue`] for one piece of content.
#[derive(Debug)]
pub struct Room(OwnedSemaphorePermit);

impl Room {
    /// Whether it was asked for as many bytes.
    pub fn is_for(&self, bytes: usize) -> bool {
        self.0.num_permits() == bytes.min(CAPACITY)
    }
}

/// What the writer got.
#[derive(Debug)]
pub enum Batch {
    /// Bytes to write, with the room to give back after.
    Bytes {
        /// See [`SendQueue::written`].
        room: usize,
    },
    /// All was written, and nothing more will come.
    Finished,
}

impl SendQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            changed: Notify::new(),
            room: Arc::new(Semaphore::new(CAPACITY)),
        }
    }

    /// Room for `bytes`, if there is some at once and nobody waits for it.
    ///
    /// # Errors
    /// [`TrunkLost`] after [`close`](Self::close).
    pub fn try_room(&self, bytes: usize) -> Result<Option<Room>, TrunkLost> {
        match Arc::clone(&self.room).try_acquire_many_owned(permits(bytes)) {
            Ok(permit) => Ok(Some(Room(permit))),
            Err(TryAcquireError::NoPermits) => Ok(None),
            Err(TryAcquireError::Closed) => Err(TrunkLost),
        }
    }

    /// Waits for room for `bytes`.
    ///
    /// # Errors
    /// [`TrunkLost`] after [`close`](Self::close).
    pub async fn room(&self, bytes: usize) -> Result<Room, TrunkLost> {
        Arc::clone(&self.room)
            .acquire_many_owned(permits(bytes))
            .await
            .map(Room)
            .map_err(|_closed| TrunkLost)
    }

    /// Puts content into room that was got for it.
    pub fn put(&self, Room(permit): Room, write: impl FnOnce(&mut Vec<u8>)) {
        let mut waiting = self.waiting.lock();
        waiting.room += permit.num_permits();
        permit.forget();
        write(&mut waiting.bytes);
        drop(waiting);
        self.changed.notify_one();
    }

    /// Puts a few bytes that may not wait for room: a close. Each is for a connection that had
    /// content put before, or the trunk's first frame, so what is put here is bounded by that.
    pub fn put_urgent(&self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.waiting.lock().bytes);
        self.changed.notify_one();
    }

    /// Waits for bytes to write and gives them in exchange for an empty buffer.
    pub async fn take(&self, batch: &mut Vec<u8>) -> Batch {
        loop {
            // The clients that are ready go first, so that what they send is one write together.
            tokio::task::yield_now().await;
            {
                let mut waiting = self.waiting.lock();
                if !waiting.bytes.is_empty() {
                    std::mem::swap(&mut waiting.bytes, batch);
                    return Batch::Bytes {
                        room: std::mem::take(&mut waiting.room),
                    };
                }
                if waiting.finished {
                    return Batch::Finished;
                }
            }
            self.changed.notified().await;
        }
    }

    /// Gives room back: what took it was written.
    pub fn written(&self, room: usize) {
        self.room.add_permits(room);
    }

    /// Lets the writer end once all is written.
    pub fn finish(&self) {
        self.waiting.lock().finished = true;
        self.changed.notify_one();
    }

    /// The trunk is lost: whoever waits for room hears of it.
    pub fn close(&self) {
        self.room.close();
    }
}

/// A piece that is larger than the queue gets the whole of it.
fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.min(CAPACITY)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_bounded_and_comes_back_when_written() {
        let queue = SendQueue::new();
        let room = queue.try_room(CAPACITY).unwrap().unwrap();
        assert!(queue.try_room(1).unwrap().is_none());
        queue.put(room, |out| out.extend_from_slice(b"content"));
        queue.put_urgent(|out| out.extend_from_slice(b" close"));
        let mut batch = Vec::new();
        let Batch::Bytes { room } = queue.take(&mut batch).await else {
            panic!("bytes wait")
        };
        assert_eq!(batch, b"content close");
        assert!(queue.try_room(1).unwrap().is_none());
        queue.written(room);
        assert!(queue.try_room(CAPACITY).unwrap().is_some());
    }

    #[tokio::test]
    async fn room_that_was_not_used_comes_back() {
        let queue = SendQueue::new();
        drop(queue.try_room(CAPACITY).unwrap());
        assert!(queue.try_room(CAPACITY).unwrap().is_some());
    }

    #[tokio::test]
    async fn more_than_the_whole_queue_still_gets_through() {
        let queue = SendQueue::new();
        assert!(queue.room(10 * CAPACITY).await.is_ok());
    }

    #[tokio::test]
    async fn who_waits_for_room_hears_that_the_trunk_is_lost() {
        let queue = SendQueue::new();
        let _all = queue.try_room(CAPACITY).unwrap();
        let (room, ()) = tokio::join!(queue.room(1), async { queue.close() });
        assert_eq!(room.err(), Some(TrunkLost));
        assert_eq!(queue.try_room(1).err(), Some(TrunkLost));
    }

    #[tokio::test]
    async fn a_finished_queue_ends_after_its_last_bytes() {
        let queue = SendQueue::new();
        queue.put_urgent(|out| out.push(b'x'));
        queue.finish();
        let mut batch = Vec::new();
        assert!(matches!(
            queue.take(&mut batch).await,
            Batch::Bytes { room: 0 }
        ));
        batch.clear();
        assert!(matches!(queue.take(&mut batch).await, Batch::Finished));
    }
}
