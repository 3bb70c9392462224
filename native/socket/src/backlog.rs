//! How much output waits on a trunk of version 2, and which senders wait until there is room for more.
//!
//! A sender takes no lock here while less than half of the room is taken: then all of it is for whoever
//! comes. Beyond that [`Room`] decides, under its lock, which whoever gives room back takes too; so nobody
//! begins to wait who would not be called.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use megaphone_trunk::room::{Line, RESERVED, Reserved, Room, Wish};
use parking_lot::{Mutex, MutexGuard};

use crate::handle::Handle;

/// In which lines a connection waits for room.
#[derive(Clone, Copy, Default)]
pub(crate) struct Lines(u8);

impl Lines {
    const fn bit(line: Line) -> u8 {
        match line {
            Line::Turns => 1,
            Line::Windows => 2,
        }
    }

    /// Whether it was not there.
    fn enter(&mut self, line: Line) -> bool {
        let is_new = self.0 & Self::bit(line) == 0;
        self.0 |= Self::bit(line);
        is_new
    }

    /// It is called, and waits there no more.
    pub(crate) fn leave(&mut self, line: Line) {
        self.0 &= !Self::bit(line);
    }
}

/// The room for what waits.
pub(crate) struct Backlog {
    most: usize,
    /// What connections keep, and what of that waits for their windows.
    waiting: AtomicUsize,
    shut: AtomicUsize,
    /// What connections that are gone left with the session, and what of that waits for windows.
    left: AtomicUsize,
    left_shut: AtomicUsize,
    /// What [`Room`] keeps for writes that are to come.
    reserved: AtomicUsize,
    room: Mutex<Room<Handle>>,
}

impl Backlog {
    /// Room for this many bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            waiting: AtomicUsize::new(0),
            shut: AtomicUsize::new(0),
            left: AtomicUsize::new(0),
            left_shut: AtomicUsize::new(0),
            reserved: AtomicUsize::new(0),
            room: Mutex::new(Room::new(most)),
        }
    }

    /// Lets a connection with `before` waiting have `after`, if there is room; if not it is called when there is.
    /// Room that was kept for it is used up, and is enough for up to [`RESERVED`] bytes more.
    pub(crate) fn admit(
        &self,
        handle: Handle,
        lines: &mut Lines,
        before: Wish,
        after: Wish,
        reserved: Option<Reserved>,
    ) -> bool {
        let more = after.waiting - before.waiting;
        if let Some(reserved) = reserved {
            self.unreserve(reserved);
            if more <= RESERVED {
                self.add(before, after);
                return true;
            }
        }
        if after.shut == 0 && self.admit_freely(after.waiting, more) {
            return true;
        }
        let mut room = self.lock();
        match room.admit(after) {
            Err(line) if more > 0 => {
                wait(&mut room, line, handle, lines, after);
                false
            }
            _ => {
                self.add(before, after);
                true
            }
        }
    }

    /// What [`Room`] would say, as long as no more than half of it is taken.
    fn admit_freely(&self, wish: usize, more: usize) -> bool {
        let elsewhere = self.left.load(Relaxed) + self.reserved.load(Relaxed);
        let admit = |waiting: usize| {
            let taken = elsewhere.saturating_add(waiting).saturating_add(wish);
            (taken <= self.most / 2).then_some(waiting + more)
        };
        self.waiting.fetch_update(Relaxed, Relaxed, admit).is_ok()
    }

    fn add(&self, before: Wish, after: Wish) {
        self.waiting
            .fetch_add(after.waiting - before.waiting, Relaxed);
        self.shut.fetch_add(after.shut - before.shut, Relaxed);
    }

    /// As a write after which `after` would wait, without it: room is kept. `None` if there is none.
    pub(crate) fn reserve(
        &self,
        handle: Handle,
        lines: &mut Lines,
        before: Wish,
        after: Wish,
    ) -> Option<Reserved> {
        let mut room = self.lock();
        if let Err(line) = room.admit(after)
            && after.waiting > before.waiting
        {
            wait(&mut room, line, handle, lines, after);
            return None;
        }
        let reserved = room.reserve(after);
        self.reserved.store(room.reserved(), Relaxed);
        Some(reserved)
    }

    /// The room that was kept is not needed.
    pub(crate) fn unreserve(&self, reserved: Reserved) {
        let mut room = self.room.lock();
        room.unreserve(reserved);
        self.reserved.store(room.reserved(), Relaxed);
    }

    /// This many bytes no longer wait, or are lost; [`Backlog::callers`] are to be called after that.
    pub(crate) fn remove(&self, gone: Wish) {
        self.waiting.fetch_sub(gone.waiting, Relaxed);
        if gone.shut > 0 {
            self.shut.fetch_sub(gone.shut, Relaxed);
        }
    }

    /// This many bytes of what connections left now wait with the session.
    pub(crate) fn set_left(&self, left: Wish) {
        // Senders read these all the time: they are written where they change.
        if self.left.load(Relaxed) != left.waiting {
            self.left.store(left.waiting, Relaxed);
        }
        if self.left_shut.load(Relaxed) != left.shut {
            self.left_shut.store(left.shut, Relaxed);
        }
    }

    /// Those for whose writes there is room again.
    pub(crate) fn callers(&self) -> Vec<(Handle, Line)> {
        let mut callers = Vec::new();
        let mut room = self.lock();
        if room.is_awaited() {
            room.call(|handle, line| {
                callers.push((handle, line));
                true
            });
        }
        callers
    }

    /// How many bytes connections keep.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// How many of them wait for windows.
    #[cfg(test)]
    pub(crate) fn shut(&self) -> usize {
        self.shut.load(Relaxed)
    }

    /// How many bytes room is kept for.
    #[cfg(test)]
    pub(crate) fn reserved(&self) -> usize {
        self.reserved.load(Relaxed)
    }

    /// How many writes found no room.
    pub(crate) fn refused(&self) -> u64 {
        self.room.lock().refused()
    }

    /// Nobody is called any more.
    pub(crate) fn clear(&self) {
        *self.room.lock() = Room::new(self.most);
    }

    /// The room as it is now. What others add meanwhile is no more than half of it.
    fn lock(&self) -> MutexGuard<'_, Room<Handle>> {
        let mut room = self.room.lock();
        room.hold(
            self.waiting.load(Relaxed) + self.left.load(Relaxed),
            self.shut.load(Relaxed) + self.left_shut.load(Relaxed),
        );
        room
    }
}

fn wait(room: &mut Room<Handle>, line: Line, handle: Handle, lines: &mut Lines, wish: Wish) {
    if lines.enter(line) {
        room.wait(line, handle, wish);
    } else {
        room.refuse();
    }
}
