//! What a session has to say, and in which order.
//!
//! ```text
//!   1  go-away, ping, answers to pings          of the session
//!   2  frames that were made as they were asked  at most `output_ahead` bytes of data; SYN, RST
//!   3  acknowledgements, window updates          one for each stream that needs one
//!   4  queued data                               a frame of each stream in turn
//! ```
//!
//! 2 counts as sent. A stream's SYN is there, so no window update can come before it. Data is
//! framed there only while no stream waits in 4, so nobody overtakes a stream that waits.

use std::collections::VecDeque;

use super::error::GoAwayCode;
use super::header::{Flags, Header, StreamId};
use super::queues::Queues;
use super::stream::{Marks, Stream};
use super::totals::Totals;
use crate::copy::append;
use crate::room::{Line, Room, Wish};

/// The most data in one frame, in bytes: streams take turns by frames.
pub const MAX_DATA: usize = 16 << 10;

/// Answers to pings that may wait; a peer that asks for more without reading one is flooding.
pub(super) const MAX_PONGS: usize = 256;

/// A queue of ids that was longer than this gives its memory back when it is empty.
const KEPT_IDS: usize = 1024;

#[derive(Debug)]
pub(super) struct Output {
    go_away: Option<GoAwayCode>,
    ping: Option<u32>,
    pongs: VecDeque<u32>,
    /// Whole frames, in the order they were made.
    framed: Vec<u8>,
    /// Streams that owe an acknowledgement or window; ids of streams that are gone are skipped.
    pub(super) control: VecDeque<StreamId>,
    /// Streams with data and a window for it; ids of streams that are gone are skipped.
    pub(super) turns: VecDeque<StreamId>,
    pub(super) queues: Queues,
    /// What is in the queues, and the streams that wait to have more there.
    pub(super) room: Room<StreamId>,
}

impl Output {
    /// Nothing yet; up to this many bytes may be queued.
    pub(super) fn new(max_output: usize) -> Self {
        Self {
            go_away: None,
            ping: None,
            pongs: VecDeque::new(),
            framed: Vec::new(),
            control: VecDeque::new(),
            turns: VecDeque::new(),
            queues: Queues::default(),
            room: Room::new(max_output),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.go_away.is_none()
            && self.ping.is_none()
            && self.pongs.is_empty()
            && self.framed.is_empty()
            && self.control.is_empty()
            && self.turns.is_empty()
    }

    /// How many bytes wait here, queues included; for the ids of streams that wait, four each.
    pub(super) fn held(&self) -> usize {
        let ids = self.pongs.len() + self.control.len() + self.turns.len();
        self.framed.len() + self.room.waiting() + ids * size_of::<StreamId>()
    }

    /// How many bytes of frames are made.
    pub(super) const fn framed(&self) -> usize {
        self.framed.len()
    }

    pub(super) const fn go_away(&mut self, code: GoAwayCode) {
        self.go_away = Some(code);
    }

    /// Nothing else is said any more.
    pub(super) fn end(&mut self, last_words: Option<GoAwayCode>) {
        *self = Self {
            go_away: last_words,
            ..Self::new(0)
        };
    }

    pub(super) const fn ping(&mut self, number: u32) {
        self.ping = Some(number);
    }

    /// Answers a ping; false if too many answers wait already.
    pub(super) fn pong(&mut self, number: u32) -> bool {
        let room = self.pongs.len() < MAX_PONGS;
        if room {
            self.pongs.push_back(number);
        }
        room
    }

    pub(super) fn frame(&mut self, header: Header) {
        self.framed.extend_from_slice(&header.encode());
    }

    /// Says SYN for a new stream, with its first bytes if there are any.
    pub(super) fn open(&mut self, stream: &mut Stream, first: &[u8], totals: &mut Totals) {
        if first.is_empty() {
            self.frame(Header::window_update(stream.id, Flags::SYN, 0));
        } else {
            put_data(&mut self.framed, stream, Flags::SYN, [first, &[]], totals);
        }
    }

    /// A stream has to be told something that is no data.
    pub(super) fn needs_control(&mut self, stream: &mut Stream) {
        if !stream.marks.has(Marks::IN_CONTROL) {
            stream.marks.set(Marks::IN_CONTROL);
            self.control.push_back(stream.id);
        }
    }

    /// A stream may have got something to send, or a window to send it in.
    pub(super) fn needs_turn(&mut self, stream: &mut Stream) {
        if stream.send_window > 0 && stream.queue.is_some() && !stream.marks.has(Marks::IN_TURNS) {
            stream.marks.set(Marks::IN_TURNS);
            self.turns.push_back(stream.id);
        }
    }

    /// Frames as much of `bytes` as it may now, and queues the rest.
    pub(super) fn write(
        &mut self,
        stream: &mut Stream,
        mut bytes: &[u8],
        ahead: usize,
        totals: &mut Totals,
    ) {
        if stream.queue.is_none() && self.turns.is_empty() {
            while !bytes.is_empty() && stream.send_window > 0 && self.framed.len() < ahead {
                let (data, rest) = bytes.split_at(next_frame(stream, bytes.len()));
                put_data(&mut self.framed, stream, Flags::NONE, [data, &[]], totals);
                bytes = rest;
            }
        }
        if !bytes.is_empty() {
            let queued = self.queues.len(stream.queue);
            let shut = stream.shut(queued + bytes.len()) - stream.shut(queued);
            self.room.add(bytes.len(), shut);
            self.queues.append(&mut stream.queue, bytes);
            self.needs_turn(stream);
        }
    }

    /// Queues bytes that are not empty, whatever waits already, and frames none of them ahead.
    pub(super) fn adopt(&mut self, stream: &mut Stream, bytes: VecDeque<u8>) {
        let queued = self.queues.len(stream.queue);
        let shut = stream.shut(queued + bytes.len()) - stream.shut(queued);
        self.room.add(bytes.len(), shut);
        self.queues.adopt(&mut stream.queue, bytes);
        self.needs_turn(stream);
    }

    /// What would wait if this many bytes were written now; `None` if they may not be, and
    /// [`Event::Writable`] tells when they may.
    pub(super) fn admit(&mut self, stream: &mut Stream, len: usize, high: usize) -> Option<Wish> {
        let queued = self.queues.len(stream.queue);
        if queued >= high.max(1) {
            stream.marks.set(Marks::REFUSED);
            return None;
        }
        let waiting = queued.saturating_add(len);
        let shut = stream.shut(waiting);
        let wish = Wish { waiting, shut };
        match self.room.admit(wish) {
            Err(line) if len > 0 => {
                self.wait_for_room(stream, line, wish);
                None
            }
            _ => Some(wish),
        }
    }

    fn wait_for_room(&mut self, stream: &mut Stream, line: Line, wish: Wish) {
        stream.marks.set(Marks::REFUSED);
        if stream.marks.has(Marks::in_line(line)) {
            self.room.refuse();
        } else {
            stream.marks.set(Marks::in_line(line));
            self.room.wait(line, stream.id, wish);
        }
    }

    /// The peer opens a stream's window.
    pub(super) fn open_window(&mut self, stream: &mut Stream, window: u32) {
        if stream.queue.is_some() {
            let queued = self.queues.len(stream.queue);
            let shut = stream.shut(queued);
            stream.send_window = window;
            self.room.remove(0, shut - stream.shut(queued));
        } else {
            stream.send_window = window;
        }
        self.needs_turn(stream);
    }

    /// What a stream has queued is lost.
    pub(super) fn drop_queue(&mut self, stream: &mut Stream) {
        let queued = self.queues.len(stream.queue);
        self.room.remove(queued, stream.shut(queued));
        self.queues.give_back(&mut stream.queue);
    }

    /// Says FIN for a stream with nothing queued.
    pub(super) fn finish(&mut self, stream: &mut Stream, totals: &mut Totals) {
        put_data(&mut self.framed, stream, Flags::FIN, [&[], &[]], totals);
    }

    pub(super) fn take_session_frames(&mut self, out: &mut Vec<u8>) {
        if let Some(code) = self.go_away.take() {
            out.extend_from_slice(&Header::go_away(code as u32).encode());
        }
        if let Some(number) = self.ping.take() {
            out.extend_from_slice(&Header::ping(Flags::SYN, number).encode());
        }
        for number in self.pongs.drain(..) {
            out.extend_from_slice(&Header::ping(Flags::ACK, number).encode());
        }
    }

    pub(super) fn take_framed(&mut self, out: &mut Vec<u8>) {
        if out.is_empty() {
            // No copy, and the caller's buffer is the next one to fill.
            std::mem::swap(out, &mut self.framed);
        } else {
            append(out, &self.framed);
            self.framed.clear();
        }
    }
}

/// The oldest id; the queue gives its memory back when it was long and is empty.
pub(super) fn pop(ids: &mut VecDeque<StreamId>) -> Option<StreamId> {
    let id = ids.pop_front();
    if ids.is_empty() && ids.capacity() > KEPT_IDS {
        *ids = VecDeque::new();
    }
    id
}

/// How much of `len` queued bytes goes in the next frame.
pub(super) fn next_frame(stream: &Stream, len: usize) -> usize {
    // A window that a usize can't hold is larger than any slice.
    let window = usize::try_from(stream.send_window).unwrap_or(usize::MAX);
    len.min(window).min(MAX_DATA)
}

/// The ACK that a stream's first frame carries.
pub(super) fn acknowledgement(stream: &mut Stream) -> Flags {
    if stream.marks.has(Marks::OWES_ACK) {
        stream.marks.clear(Marks::OWES_ACK);
        Flags::ACK
    } else {
        Flags::NONE
    }
}

/// Appends a data frame; `data` is as long as [`next_frame`] says, or less.
pub(super) fn put_data(
    out: &mut Vec<u8>,
    stream: &mut Stream,
    flags: Flags,
    data: [&[u8]; 2],
    totals: &mut Totals,
) {
    let [first, second] = data;
    let len = first.len() + second.len();
    debug_assert!(len <= next_frame(stream, len));
    // At most 16 KiB.
    let length = len as u32;
    stream.send_window -= length;
    if length > 0 {
        stream.marks.set(Marks::SENT);
    }
    totals.data_frames_sent += 1;
    totals.bytes_sent += u64::from(length);
    let header = Header::data(stream.id, acknowledgement(stream).with(flags), length);
    out.extend_from_slice(&header.encode());
    append(out, first);
    append(out, second);
}
