//! One stream: whose turn it is to end it, and the two windows.

use super::event::Tag;
use super::header::{INITIAL_WINDOW, StreamId};
use super::queues::QueueId;
use crate::room::Line;

/// What became of a stream's two directions.
///
/// ```text
///     SYN, either side's
///            |
///            v           finish, bytes queued                 last byte framed, with FIN
///          Open --------------------------------> Finishing ---------------------------> SendClosed
///            |  \                                     |                                      ^  |
///            |   `------------ finish, nothing queued: FIN at once ------------------------ /   |
///   peer's   |                                        | peer's                                  | peer's
///   FIN      |                                        | FIN                                     | FIN
///            v           finish, bytes queued         v           last byte framed, with FIN    v
///      ReceiveClosed -------------------------> LastBytes --------------------------------->  gone
///             \                                                                                 ^
///              `-------------- finish, nothing queued: FIN at once ---------------------------- /
///
///   RST, from either side and in every state: gone
/// ```
///
/// A stream that is gone has no entry in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Bytes may go both ways.
    Open,
    /// Ours to send is in the queue, FIN comes after it; the peer may still send.
    Finishing,
    /// Our FIN is framed; the peer may still send.
    SendClosed,
    /// The peer's FIN came; we may still send.
    ReceiveClosed,
    /// The peer's FIN came, and ours comes after the queue.
    LastBytes,
}

impl State {
    /// Whether the owner may still write.
    pub(super) const fn can_write(self) -> bool {
        matches!(self, Self::Open | Self::ReceiveClosed)
    }

    /// Whether the peer may still send.
    pub(super) const fn can_receive(self) -> bool {
        matches!(self, Self::Open | Self::Finishing | Self::SendClosed)
    }

    /// Whether a FIN follows the queue.
    pub(super) const fn is_finishing(self) -> bool {
        matches!(self, Self::Finishing | Self::LastBytes)
    }

    /// The owner writes no more and has bytes queued.
    pub(super) const fn finishing(self) -> Self {
        match self {
            Self::Open => Self::Finishing,
            Self::ReceiveClosed => Self::LastBytes,
            other => other,
        }
    }

    /// Our FIN is framed; `None`: the stream is gone.
    pub(super) const fn send_closed(self) -> Option<Self> {
        match self {
            Self::Open | Self::Finishing | Self::SendClosed => Some(Self::SendClosed),
            Self::ReceiveClosed | Self::LastBytes => None,
        }
    }

    /// The peer's FIN came; `None`: the stream is gone.
    pub(super) const fn receive_closed(self) -> Option<Self> {
        match self {
            Self::Open | Self::ReceiveClosed => Some(Self::ReceiveClosed),
            Self::Finishing | Self::LastBytes => Some(Self::LastBytes),
            Self::SendClosed => None,
        }
    }
}

/// Small facts of a stream, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Marks(u16);

impl Marks {
    /// The peer opened it and was not told yet that it is accepted.
    pub(super) const OWES_ACK: Self = Self(1);
    /// It stands in the queue of acknowledgements and window updates.
    pub(super) const IN_CONTROL: Self = Self(2);
    /// It stands in the queue of streams with data to send.
    pub(super) const IN_TURNS: Self = Self(4);
    /// A write was refused; the owner waits for room.
    pub(super) const REFUSED: Self = Self(8);
    /// The peer sent a byte.
    pub(super) const RECEIVED: Self = Self(16);
    /// A byte of ours was framed.
    pub(super) const SENT: Self = Self(32);
    /// Nobody reads it any more: what comes is dropped.
    pub(super) const RELEASED: Self = Self(64);
    /// It was opened from here and the peer has not said yet that it accepts it.
    pub(super) const AWAITS_ACK: Self = Self(128);
    /// It stands in the line of those whose writers wait for room on the trunk.
    pub(super) const IN_TURNS_LINE: Self = Self(256);
    /// It stands in the line of those whose writers wait for room before shut windows.
    pub(super) const IN_WINDOWS_LINE: Self = Self(512);

    /// That it stands in this line.
    pub(super) const fn in_line(line: Line) -> Self {
        match line {
            Line::Turns => Self::IN_TURNS_LINE,
            Line::Windows => Self::IN_WINDOWS_LINE,
        }
    }

    pub(super) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn set(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(super) const fn clear(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

/// How often the first window can be doubled: 2 GiB.
const MOST_DOUBLINGS: u8 = 13;

/// The largest window, in bytes, that a demand can open.
pub(super) const LARGEST_WINDOW: u32 = INITIAL_WINDOW << MOST_DOUBLINGS;

/// A stream's entry in the table: 32 bytes, so that no two lines of the cache share one, and a
/// queue only while something waits in it.
///
/// What the peer may send, what the owner holds and what is owed add up to the window.
#[derive(Debug)]
#[repr(align(32))]
pub(super) struct Stream {
    pub(super) tag: Tag,
    pub(super) id: StreamId,
    /// Bytes we may send.
    pub(super) send_window: u32,
    /// Bytes the peer may send.
    pub(super) receive_window: u32,
    /// Bytes the owner took that were not returned to the peer yet.
    owed: u32,
    pub(super) queue: Option<QueueId>,
    pub(super) state: State,
    pub(super) marks: Marks,
    /// How often the receive window was doubled for a reader that waits for more.
    doublings: u8,
}

impl Stream {
    pub(super) const fn new(id: StreamId, tag: Tag, marks: Marks) -> Self {
        Self {
            tag,
            id,
            send_window: INITIAL_WINDOW,
            receive_window: INITIAL_WINDOW,
            owed: 0,
            queue: None,
            state: State::Open,
            marks,
            doublings: 0,
        }
    }

    /// How far the receive window opens.
    const fn window(&self) -> u32 {
        INITIAL_WINDOW << self.doublings
    }

    /// Bytes that came and that the owner has not taken yet.
    pub(super) const fn held(&self) -> u32 {
        self.window()
            .saturating_sub(self.receive_window)
            .saturating_sub(self.owed)
    }

    /// How many of this many queued bytes no window is open for.
    pub(super) fn shut(&self, queued: usize) -> usize {
        // A window that a usize can't hold is larger than any queue.
        queued.saturating_sub(usize::try_from(self.send_window).unwrap_or(usize::MAX))
    }

    /// The owner took `n` bytes; `None` if there never were that many.
    ///
    /// A window that was opened for a waiting reader shrinks to its first size as the reader takes
    /// the bytes: half of it is not returned, so the peer still has more than the first window.
    pub(super) fn consume(&mut self, n: u32) -> Option<()> {
        if n > self.held() {
            return None;
        }
        self.owed += n;
        while self.doublings > 0 && self.owed >= self.window() / 2 {
            self.owed -= self.window() / 2;
            self.doublings -= 1;
        }
        Some(())
    }

    /// Opens the window until `n` bytes may come before the owner takes one; `n` is at most
    /// [`LARGEST_WINDOW`].
    pub(super) fn demand(&mut self, n: u32) {
        while self.window() < n && self.doublings < MOST_DOUBLINGS {
            self.owed += self.window();
            self.doublings += 1;
        }
    }

    /// Whether enough is owed that the peer has to be told.
    pub(super) const fn must_return(&self) -> bool {
        self.doublings == 0 && self.owed >= INITIAL_WINDOW / 2
    }

    /// Whether nobody reads it, our last byte is framed and the peer goes on sending: it could soon
    /// stand in front of a window that never opens again.
    pub(super) const fn is_unread(&self) -> bool {
        self.marks.has(Marks::RELEASED)
            && matches!(self.state, State::SendClosed)
            && self.held() >= self.window() / 2
    }

    /// What the peer is given back now.
    pub(super) const fn take_owed(&mut self) -> u32 {
        let owed = self.owed;
        self.owed = 0;
        self.receive_window += owed;
        owed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        Stream::new(StreamId::new(1), 0, Marks::default())
    }

    #[test]
    fn an_idle_stream_is_small() {
        assert_eq!(size_of::<Stream>(), 32);
    }

    #[test]
    fn both_ends_close_in_any_order() {
        use State::{Finishing, LastBytes, Open, ReceiveClosed, SendClosed};
        assert_eq!(Open.send_closed(), Some(SendClosed));
        assert_eq!(SendClosed.receive_closed(), None);
        assert_eq!(Open.receive_closed(), Some(ReceiveClosed));
        assert_eq!(ReceiveClosed.send_closed(), None);
        assert_eq!(Open.finishing(), Finishing);
        assert_eq!(Finishing.receive_closed(), Some(LastBytes));
        assert_eq!(ReceiveClosed.finishing(), LastBytes);
        assert_eq!(LastBytes.send_closed(), None);
        assert_eq!(Finishing.send_closed(), Some(SendClosed));
    }

    #[test]
    fn a_window_opens_for_a_reader_and_shrinks_as_it_reads() {
        let mut stream = stream();
        stream.demand(1_000_000);
        assert_eq!(stream.take_owed(), 3 * INITIAL_WINDOW);
        stream.receive_window -= 1_000_000;
        assert_eq!(stream.held(), 1_000_000);
        let mut left = 1_000_000;
        while left > 0 {
            let n = left.min(1_000);
            stream.consume(n).expect("all of it came");
            left -= n;
            let room = stream.held() + stream.receive_window;
            assert!(room > INITIAL_WINDOW / 2 || stream.must_return());
        }
        assert_eq!(stream.doublings, 0);
        stream.take_owed();
        assert_eq!(stream.receive_window, INITIAL_WINDOW);
    }

    #[test]
    fn the_largest_window_fits_its_numbers() {
        let mut stream = stream();
        stream.demand(u32::MAX);
        assert_eq!(stream.take_owed(), LARGEST_WINDOW - INITIAL_WINDOW);
        stream.receive_window = 0;
        assert_eq!(stream.consume(LARGEST_WINDOW), Some(()));
        assert_eq!((stream.held(), stream.window()), (0, INITIAL_WINDOW));
    }

    #[test]
    fn nobody_takes_more_than_came() {
        let mut stream = stream();
        assert_eq!(stream.consume(1), None);
        stream.receive_window -= 10;
        assert_eq!(stream.consume(11), None);
        assert_eq!(stream.consume(10), Some(()));
        assert_eq!(stream.consume(1), None);
    }
}
