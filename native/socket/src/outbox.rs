//! Version 1's output: frames that the writer takes in batches.

use std::collections::VecDeque;

use megaphone_trunk::copy::append;
use megaphone_trunk::room::{Line, RESERVED, Reserved, Room, Wish};
use megaphone_trunk::v1::{self, ConnectionId, HEADER_LEN};
use parking_lot::Mutex;

use crate::handle::Handle;

/// The longest frame that is sent, header included: connections take turns by frames.
pub(crate) const FRAME_LEN: usize = 16 << 10;
/// The most content in a frame.
pub(crate) const CONTENT_LEN: usize = FRAME_LEN - HEADER_LEN;
/// How much output is framed ahead of the writer; past it connections queue for themselves.
const AHEAD: usize = 64 << 10;

/// Frames that are ready, and the connections that have more to say, in turn.
///
/// A connection's small sends go straight to `framed`, one copy. Once that is full, or a
/// connection waits for its turn, the bytes stay with their connection and it stands in `turns`
/// for a turn of one frame: nobody who queues is overtaken for ever.
///
/// A connection's first bytes may be framed and its next ones wait for a turn. So no turn is had while there are
/// frames that the writer has not taken: what is in them comes first.
pub(crate) struct Outbox {
    frames: Mutex<Frames>,
}

struct Frames {
    framed: Vec<u8>,
    turns: VecDeque<Handle>,
    /// Whether a connection has its turn at this moment: it has a place in the queue still.
    in_turn: bool,
    /// What stays with the connections, and the connections that wait to have more there.
    room: Room<Handle>,
}

impl Outbox {
    /// How many bytes connections may have waiting, all together.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            frames: Mutex::new(Frames {
                framed: Vec::new(),
                turns: VecDeque::new(),
                in_turn: false,
                room: Room::new(most),
            }),
        }
    }

    /// Takes `content` of a connection with `queued` bytes waiting: frames as much of it as may be framed, and
    /// says how many bytes that is; the rest is for the connection to queue. `None` if there is no room for it,
    /// and none was kept.
    pub(crate) fn write(
        &self,
        handle: Handle,
        id: &ConnectionId,
        content: &[u8],
        queued: usize,
        reserved: Option<Reserved>,
    ) -> Option<Framed> {
        let mut frames = self.frames.lock();
        if let Some(reserved) = reserved {
            frames.room.unreserve(reserved);
        }
        if reserved.is_none() || content.len() > RESERVED {
            frames.admit(handle, queued, content.len())?;
        }
        let mut done = Framed::default();
        if queued == 0 {
            done = frames.frame(id, content);
        }
        let rest = content.len() - done.bytes;
        if rest > 0 {
            frames.room.add(rest, 0);
            if queued == 0 {
                frames.turns.push_back(handle);
            }
        }
        Some(done)
    }

    /// Frames a text that no connection waits to send, as far as there is room.
    pub(crate) fn frame(&self, id: &ConnectionId, content: &[u8]) -> Framed {
        self.frames.lock().frame(id, content)
    }

    /// Frames a close, room or not: it is 32 bytes and comes once.
    pub(crate) fn frame_close(&self, id: &ConnectionId) {
        put_frame(&mut self.frames.lock().framed, id, [&[], &[]]);
    }

    /// Whether there is room for an answer that nobody waits for.
    pub(crate) fn has_room(&self) -> bool {
        self.frames.lock().framed.len() < AHEAD
    }

    /// How many bytes of frames are ready. Closes may be any number, for a peer that opens and closes
    /// connections and reads nothing.
    pub(crate) fn framed(&self) -> usize {
        self.frames.lock().framed.len()
    }

    /// Whether no frame is ready and no connection waits for its turn.
    pub(crate) fn is_empty(&self) -> bool {
        let frames = self.frames.lock();
        frames.framed.is_empty() && frames.turns.is_empty()
    }

    /// How many bytes there are, and how many writes found no room.
    pub(crate) fn status(&self) -> (usize, u64) {
        let frames = self.frames.lock();
        (
            frames.framed.len() + frames.room.waiting(),
            frames.room.refused(),
        )
    }

    /// As a write of this many bytes, without them: room is kept. `None` if there is none.
    pub(crate) fn reserve(&self, handle: Handle, queued: usize, length: usize) -> Option<Reserved> {
        let mut frames = self.frames.lock();
        let wish = frames.admit(handle, queued, length)?;
        Some(frames.room.reserve(wish))
    }

    /// The room that was kept is not needed.
    pub(crate) fn unreserve(&self, reserved: Reserved) {
        self.frames.lock().room.unreserve(reserved);
    }

    /// The connection with the next turn, if the writer has taken all that was framed.
    pub(crate) fn next_turn(&self) -> Option<Handle> {
        let mut frames = self.frames.lock();
        let next = if frames.framed.is_empty() {
            frames.turns.pop_front()
        } else {
            None
        };
        frames.in_turn = next.is_some();
        next
    }

    /// A connection sent this many of its bytes in its turn, and gets another turn if there is more.
    pub(crate) fn had_turn(&self, handle: Handle, sent: usize, more: bool) {
        let mut frames = self.frames.lock();
        frames.room.remove(sent, 0);
        frames.in_turn = false;
        if more {
            frames.turns.push_back(handle);
        }
    }

    /// This many bytes that waited are lost with their connection.
    pub(crate) fn drop_queued(&self, bytes: usize) {
        self.frames.lock().room.remove(bytes, 0);
    }

    /// Drops all that there is.
    pub(crate) fn clear(&self) {
        let mut frames = self.frames.lock();
        frames.framed = Vec::new();
        frames.turns = VecDeque::new();
    }

    /// Those for whose writes there is room again.
    pub(crate) fn callers(&self) -> Vec<(Handle, Line)> {
        let mut frames = self.frames.lock();
        let mut callers = Vec::new();
        if frames.room.is_awaited() {
            frames.room.call(|handle, line| {
                callers.push((handle, line));
                true
            });
        }
        callers
    }

    /// How many bytes stay with the connections.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.frames.lock().room.waiting()
    }

    /// The connections that stand in the queue.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> Vec<Handle> {
        self.frames.lock().turns.iter().copied().collect()
    }

    /// Exchanges what is framed so far for an empty buffer.
    pub(crate) fn take_framed(&self, batch: &mut Vec<u8>) {
        let mut frames = self.frames.lock();
        frames.in_turn = false;
        std::mem::swap(&mut frames.framed, batch);
    }
}

impl Frames {
    /// `None` if there is no room for this many bytes; the connection is called when there is.
    fn admit(&mut self, handle: Handle, queued: usize, length: usize) -> Option<Wish> {
        let wish = Wish {
            waiting: queued.saturating_add(length),
            shut: 0,
        };
        match self.room.admit(wish) {
            Err(line) if length > 0 => {
                self.room.wait(line, handle, wish);
                None
            }
            _ => Some(wish),
        }
    }

    fn frame(&mut self, id: &ConnectionId, content: &[u8]) -> Framed {
        let mut done = Framed::default();
        if self.in_turn || !self.turns.is_empty() {
            return done;
        }
        while done.bytes < content.len() && self.framed.len() < AHEAD {
            let end = content.len().min(done.bytes + CONTENT_LEN);
            put_frame(&mut self.framed, id, [&content[done.bytes..end], &[]]);
            done.bytes = end;
            done.frames += 1;
        }
        done
    }
}

/// How much was framed at once.
#[derive(Default)]
pub(crate) struct Framed {
    pub(crate) bytes: usize,
    pub(crate) frames: u64,
}

/// Appends one frame of at most [`CONTENT_LEN`] bytes of content.
pub(crate) fn put_frame(out: &mut Vec<u8>, id: &ConnectionId, content: [&[u8]; 2]) {
    let [first, second] = content;
    let len = first.len() + second.len();
    debug_assert!(len <= CONTENT_LEN);
    // The length has ten digits and a frame 16 KiB: this can't fail.
    if let Ok(header) = v1::encode_header(id, len) {
        out.extend_from_slice(&header);
        append(out, first);
        append(out, second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sender comes between the writer's two looks: what it frames is for the next batch, and so is its rest.
    #[test]
    fn the_rest_of_a_send_does_not_overtake_its_beginning() {
        let outbox = Outbox::new(1 << 20);
        let (handle, id) = (
            Handle::from_raw(1),
            ConnectionId::try_from(b"abcdefghijklmnopqrst").unwrap(),
        );
        let mut batch = Vec::new();
        outbox.take_framed(&mut batch);
        let framed = outbox.write(handle, &id, &[0; 64 << 10], 0, None).unwrap();
        assert_eq!(framed.bytes, 4 * CONTENT_LEN);
        assert_eq!(outbox.next_turn(), None);
        assert!(batch.is_empty() && !outbox.is_empty());
        outbox.take_framed(&mut batch);
        assert_eq!(batch.len(), 4 * FRAME_LEN);
        assert_eq!(outbox.next_turn(), Some(handle));
    }

    /// Who has a turn gets another before those who come meanwhile get two.
    #[test]
    fn nothing_is_framed_ahead_while_a_connection_has_its_turn() {
        let outbox = Outbox::new(1 << 20);
        let id = ConnectionId::try_from(b"abcdefghijklmnopqrst").unwrap();
        let [a, b] = [1, 2].map(Handle::from_raw);
        outbox.write(a, &id, &[0; 128 << 10], 0, None).unwrap();
        outbox.take_framed(&mut Vec::new());
        assert_eq!(outbox.next_turn(), Some(a));
        let framed = outbox.write(b, &id, &[0; 128 << 10], 0, None).unwrap();
        assert_eq!(framed.bytes, 0);
        outbox.had_turn(a, CONTENT_LEN, true);
        assert_eq!(outbox.next_turn(), Some(b));
        outbox.had_turn(b, CONTENT_LEN, true);
        assert_eq!(outbox.next_turn(), Some(a));
    }
}
