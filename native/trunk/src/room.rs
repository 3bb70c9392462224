//! How much output may wait on a trunk, and which streams wait until there is room for more.
//!
//! What is written waits for its turn on the trunk, or for the window of its stream to open:
//!
//! ```text
//!   all that waits               most     the writers before a full trunk wait for it to drain
//!   of that, for a window    most / 2     those before a shut window wait for it to open
//! ```
//!
//! So streams whose peers read nothing take half of the room at most, and whoever's window is open has the
//! rest. Of either the first half is for whoever comes; then a stream gets no more than a 64th of what is
//! left, so that many who write much stop each other long before they stop one who writes little. What finds
//! no room stays with its writer. Nothing that waits is thrown away for it.

use std::collections::VecDeque;

/// What part of what is left a stream may take, once half is taken.
const SHARE: usize = 64;

/// How many bytes [`Room::reserve`] keeps: a piece of a file.
pub const RESERVED: usize = 64 << 10;

/// How many writers are called at most before the next output is taken.
const MOST_CALLED: usize = 256;

/// What of a stream's bytes would wait after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// All of them.
    pub waiting: usize,
    /// Those that no window is open for.
    pub shut: usize,
}

/// Where writers wait for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// For what waits in all.
    Turns,
    /// For what waits for windows.
    Windows,
}

/// The room for what waits on one trunk; `T` is how its streams are named.
#[derive(Debug)]
pub struct Room<T> {
    most: usize,
    waiting: usize,
    shut: usize,
    reserved: usize,
    reserved_shut: usize,
    refused: u64,
    turns: VecDeque<Caller<T>>,
    windows: VecDeque<Caller<T>>,
}

#[derive(Debug, Clone, Copy)]
struct Caller<T> {
    stream: T,
    /// For how many bytes there was no room.
    bytes: usize,
}

/// Room that is kept for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Reserved {
    /// For one whose window is open.
    Turn,
    /// For one that has to wait for its window.
    Window,
}

impl<T: Copy> Room<T> {
    /// Room for this many bytes.
    pub const fn new(most: usize) -> Self {
        Self {
            most,
            waiting: 0,
            shut: 0,
            reserved: 0,
            reserved_shut: 0,
            refused: 0,
            turns: VecDeque::new(),
            windows: VecDeque::new(),
        }
    }

    /// Whether a stream may have this much waiting; if not, the line in which its writer has to wait.
    ///
    /// Where nothing waits one write of any size may, so that there always is one that goes on.
    #[inline]
    pub fn admit(&self, wish: Wish) -> Result<(), Line> {
        if wish.shut > 0 && !self.fits(Line::Windows, wish.shut, 0) {
            return Err(Line::Windows);
        }
        if !self.fits(Line::Turns, wish.waiting, 0) {
            return Err(Line::Turns);
        }
        Ok(())
    }

    /// Whether there is room for a stream's bytes, besides some that are promised to others.
    #[inline]
    fn fits(&self, line: Line, bytes: usize, promised: usize) -> bool {
        let (most, held, reserved, is_empty) = match line {
            Line::Turns => (
                self.most,
                self.waiting,
                self.reserved,
                self.waiting <= self.shut,
            ),
            Line::Windows => (self.most / 2, self.shut, self.reserved_shut, self.shut == 0),
        };
        if is_empty && reserved + promised == 0 {
            return true;
        }
        let held = held + reserved + promised;
        held.saturating_add(bytes) <= most / 2 || bytes <= most.saturating_sub(held) / SHARE
    }

    /// A stream waits that was not admitted. [`Room::call`] comes back to it, once for each time.
    pub fn wait(&mut self, line: Line, stream: T, wish: Wish) {
        self.refused += 1;
        let bytes = match line {
            Line::Turns => wish.waiting,
            Line::Windows => wish.shut,
        };
        self.line(line).push_back(Caller { stream, bytes });
    }

    /// A stream that waits already was not admitted again.
    pub const fn refuse(&mut self) {
        self.refused += 1;
    }

    /// How often a write was not admitted.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Room for [`RESERVED`] bytes is kept for who was admitted; [`Room::unreserve`] gives it back as they are
    /// written, or not.
    pub const fn reserve(&mut self, wish: Wish) -> Reserved {
        self.reserved += RESERVED;
        if wish.shut == 0 {
            return Reserved::Turn;
        }
        self.reserved_shut += RESERVED;
        Reserved::Window
    }

    /// See [`Room::reserve`].
    pub fn unreserve(&mut self, reserved: Reserved) {
        self.reserved = self.reserved.saturating_sub(RESERVED);
        if reserved == Reserved::Window {
            self.reserved_shut = self.reserved_shut.saturating_sub(RESERVED);
        }
    }

    /// How many bytes room is kept for.
    pub const fn reserved(&self) -> usize {
        self.reserved
    }

    /// This much waits, and this much of it for windows: for output that is kept elsewhere.
    pub const fn hold(&mut self, waiting: usize, shut: usize) {
        self.waiting = waiting;
        self.shut = shut;
    }

    /// More waits, some of it for a window.
    #[inline]
    pub const fn add(&mut self, waiting: usize, shut: usize) {
        self.waiting += waiting;
        self.shut += shut;
    }

    /// Less waits, and less for a window.
    #[inline]
    pub const fn remove(&mut self, waiting: usize, shut: usize) {
        debug_assert!(waiting <= self.waiting && shut <= self.shut);
        self.waiting = self.waiting.saturating_sub(waiting);
        self.shut = self.shut.saturating_sub(shut);
    }

    /// How many bytes wait.
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many bytes wait for a window.
    pub const fn shut(&self) -> usize {
        self.shut
    }

    /// Whether a writer waits for room.
    #[inline]
    pub fn is_awaited(&self) -> bool {
        !self.turns.is_empty() || !self.windows.is_empty()
    }

    /// Calls those who wait, the first come first, as far as there is room. `call` is told who and which
    /// line, and answers whether a writer of that stream waited still.
    pub fn call(&mut self, mut call: impl FnMut(T, Line) -> bool) {
        for line in [Line::Turns, Line::Windows] {
            let mut called = 0;
            let mut promised = 0;
            while called < MOST_CALLED
                && let Some(Caller { stream, bytes }) = self.line(line).front().copied()
                && self.fits(line, bytes, promised)
            {
                self.line(line).pop_front();
                if call(stream, line) {
                    called += 1;
                    promised += bytes;
                }
            }
            if self.line(line).is_empty() {
                *self.line(line) = VecDeque::new();
            }
        }
    }

    const fn line(&mut self, line: Line) -> &mut VecDeque<Caller<T>> {
        match line {
            Line::Turns => &mut self.turns,
            Line::Windows => &mut self.windows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 1 << 20;

    fn waits(waiting: usize) -> Wish {
        Wish { waiting, shut: 0 }
    }

    fn shut(len: usize) -> Wish {
        Wish {
            waiting: len,
            shut: len,
        }
    }

    /// Writes of `len` bytes, as many as are admitted; how many bytes then wait.
    fn fill(room: &mut Room<u32>, len: usize, wish: impl Fn(usize) -> Wish) -> usize {
        while room.admit(wish(len)).is_ok() {
            let Wish { waiting, shut } = wish(len);
            room.add(waiting, shut);
        }
        room.waiting()
    }

    #[test]
    fn beyond_a_half_a_writer_gets_a_64th_of_what_is_left() {
        let mut room = Room::<u32>::new(MOST);
        room.add(1, 0);
        assert_eq!(room.admit(waits(MOST / 2 - 1)), Ok(()));
        assert_eq!(room.admit(waits(MOST / 2)), Err(Line::Turns));
        let large = fill(&mut room, 64 << 10, waits);
        assert!(
            large > MOST / 2 - (64 << 10) && large <= MOST / 2,
            "{large}"
        );
        let small = fill(&mut room, 4 << 10, waits);
        assert!(
            small > MOST / 2 && small < MOST * 3 / 4 + (4 << 10),
            "{small}"
        );
        let smallest = fill(&mut room, 100, waits);
        assert!(smallest > small && smallest < MOST, "{smallest}");
    }

    #[test]
    fn shut_windows_take_half_of_it() {
        let mut room = Room::<u32>::new(MOST);
        fill(&mut room, 1 << 10, shut);
        fill(&mut room, 1, shut);
        assert!(room.shut() <= MOST / 2, "{}", room.shut());
        assert_eq!(room.admit(shut(100)), Err(Line::Windows));
        assert_eq!(room.admit(waits(64 << 10)), Ok(()), "nothing else waits");
        room.add(1, 0);
        assert_eq!(room.admit(waits(4 << 10)), Ok(()));
    }

    #[test]
    fn where_nothing_waits_any_write_may() {
        let mut room = Room::<u32>::new(100);
        assert_eq!(room.admit(waits(1 << 20)), Ok(()));
        assert_eq!(room.admit(shut(1 << 20)), Ok(()));
        room.add(1 << 20, 1 << 20);
        assert_eq!(room.admit(shut(1)), Err(Line::Windows));
        assert_eq!(room.admit(waits(1 << 20)), Ok(()), "its window is open");
        room.add(1, 0);
        assert_eq!(room.admit(waits(1)), Err(Line::Turns));
    }

    #[test]
    fn what_is_reserved_is_no_room_for_others() {
        let mut room = Room::<u32>::new(8 << 20);
        room.add(1, 0);
        let kept: Vec<_> = (0..96).map(|_| room.reserve(waits(1))).collect();
        assert_eq!(room.admit(waits(32 << 10)), Err(Line::Turns));
        assert_eq!(room.admit(waits(31 << 10)), Ok(()));
        assert_eq!(room.admit(shut(31 << 10)), Ok(()));
        for reserved in kept {
            room.unreserve(reserved);
        }
        assert_eq!(room.admit(waits((4 << 20) - 1)), Ok(()));
        let kept: Vec<_> = (0..48).map(|_| room.reserve(shut(1))).collect();
        assert_eq!(room.admit(shut(16 << 10)), Ok(()));
        assert_eq!(room.admit(shut(17 << 10)), Err(Line::Windows));
        assert_eq!(room.admit(waits(1_000_000)), Ok(()));
        for reserved in kept {
            room.unreserve(reserved);
        }
        assert_eq!(room.admit(shut((4 << 20) - 1)), Ok(()));
    }

    #[test]
    fn those_who_wait_are_called_as_far_as_there_is_room() {
        let mut room = Room::new(MOST);
        room.add(MOST, 0);
        for stream in 0..200 {
            room.wait(Line::Turns, stream, waits(4 << 10));
        }
        let called = |room: &mut Room<u32>, waits: bool| {
            let mut called = Vec::new();
            room.call(|stream, _| {
                called.push(stream);
                waits
            });
            called
        };
        assert_eq!(called(&mut room, true), []);
        room.remove(MOST / 2, 0);
        // 256 KiB have to be left for 4 KiB.
        assert_eq!(called(&mut room, true), Vec::from_iter(0..65));
        room.remove(MOST / 4, 0);
        assert_eq!(called(&mut room, true), Vec::from_iter(65..194));
        // Those who have gone need no room.
        room.remove(MOST / 4, 0);
        assert_eq!(called(&mut room, false), Vec::from_iter(194..200));
        assert!(!room.is_awaited());
        assert_eq!(room.refused(), 200);
    }

    #[test]
    fn one_of_those_who_wait_is_called_where_nothing_waits() {
        let mut room = Room::new(100);
        room.wait(Line::Turns, 1, waits(1000));
        room.wait(Line::Turns, 2, waits(1000));
        room.wait(Line::Windows, 3, shut(1000));
        let mut called = Vec::new();
        room.call(|stream, line| {
            called.push((stream, line));
            true
        });
        assert_eq!(called, [(1, Line::Turns), (3, Line::Windows)]);
        assert!(room.is_awaited());
    }
}
