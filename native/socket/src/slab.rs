//! A table of connections in shards, each behind its own lock.

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::handle::{Handle, INDEX_BITS, SHARD_BITS};

/// How many locks a table has: neighbours in time are in different shards.
pub(crate) const SHARDS: usize = 1 << SHARD_BITS;
const SLOTS_PER_SHARD: usize = 1 << (INDEX_BITS - SHARD_BITS);
const NO_SLOT: u32 = u32::MAX;
/// With more entries than this they outgrow a core's own cache.
const LARGE: usize = 8192;

/// How many entries are brought into the cache at a time: more than a core can wait for at once.
pub(crate) const TOGETHER: usize = 64;

/// What becomes of an entry after a visit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    Keep,
    Remove,
}

pub(crate) struct Slab<T> {
    shards: Box<[Mutex<Shard<T>>]>,
    next_generation: AtomicU32,
    next_shard: AtomicUsize,
    len: AtomicUsize,
}

struct Shard<T> {
    slots: Vec<Slot<T>>,
    first_free: u32,
    live: usize,
}

/// For a connection, two whole cache lines.
#[repr(align(64))]
enum Slot<T> {
    Vacant { next_free: u32 },
    Occupied { generation: u32, value: T },
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Self {
        let shard = || {
            Mutex::new(Shard {
                slots: Vec::new(),
                first_free: NO_SLOT,
                live: 0,
            })
        };
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            next_generation: AtomicU32::new(1),
            next_shard: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Takes a value in, or gives it back when its shard is full (2^20 entries).
    pub(crate) fn insert(&self, value: T) -> Result<Handle, T> {
        let shard_index = self.next_shard.fetch_add(1, Ordering::Relaxed) % SHARDS;
        let generation = self.next_generation.fetch_add(1, Ordering::Relaxed);
        let mut shard = self.shards[shard_index].lock();
        let occupied = Slot::Occupied { generation, value };
        let slot = match shard.slots.get(shard.first_free as usize) {
            Some(Slot::Vacant { next_free }) => {
                let next_free = *next_free;
                let slot = shard.first_free as usize;
                shard.first_free = next_free;
                shard.slots[slot] = occupied;
                slot
            }
            _ if shard.slots.len() < SLOTS_PER_SHARD => {
                shard.slots.push(occupied);
                shard.slots.len() - 1
            }
            _ => match occupied {
                Slot::Occupied { value, .. } => return Err(value),
                Slot::Vacant { .. } => unreachable!("built as occupied above"),
            },
        };
        shard.live += 1;
        self.len.fetch_add(1, Ordering::Relaxed);
        Ok(Handle::new(generation, slot as u32, shard_index))
    }

    /// Runs `visit` on an entry under its shard's lock; `None` if the handle names nothing.
    pub(crate) fn visit<R>(&self, handle: Handle, visit: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.settle(handle, |value| (visit(value), Fate::Keep)).0
    }

    /// Brings entries into the cache, all at once, before visits would wait for one after the
    /// other. `touch` reads what a visit will need.
    pub(crate) fn warm(&self, handles: impl Iterator<Item = Handle>, touch: impl Fn(&T) -> u32) {
        let touched = handles.map(|handle| {
            let shard = self.shards[handle.shard()].lock();
            match shard.slots.get(handle.slot()) {
                Some(Slot::Occupied { value, .. }) => touch(value),
                _ => 0,
            }
        });
        black_box(touched.fold(0, u32::wrapping_add));
    }

    /// Whether there are too many entries for most of them to be in a core's cache.
    pub(crate) fn is_large(&self) -> bool {
        self.len() > LARGE
    }

    /// As [`Slab::visit`], and removes the entry if the visitor says so; what was removed is
    /// handed out, so that it is dropped and its name forgotten outside the lock.
    pub(crate) fn settle<R>(
        &self,
        handle: Handle,
        visit: impl FnOnce(&mut T) -> (R, Fate),
    ) -> (Option<R>, Option<T>) {
        let mut shard = self.shards[handle.shard()].lock();
        let slot = handle.slot();
        let Some(Slot::Occupied { generation, value }) = shard.slots.get_mut(slot) else {
            return (None, None);
        };
        if u64::from(*generation) != handle.generation() {
            return (None, None);
        }
        let (result, fate) = visit(value);
        let removed = match fate {
            Fate::Keep => None,
            Fate::Remove => self.vacate(&mut shard, slot),
        };
        (Some(result), removed)
    }

    /// Visits each entry of one shard (0 to [`SHARDS`]); gives the removed ones to `removed`.
    pub(crate) fn settle_shard(
        &self,
        shard_index: usize,
        mut visit: impl FnMut(Handle, &mut T) -> Fate,
        removed: &mut Vec<(Handle, T)>,
    ) {
        let mut shard = self.shards[shard_index % SHARDS].lock();
        for slot in 0..shard.slots.len() {
            let Some(Slot::Occupied { generation, value }) = shard.slots.get_mut(slot) else {
                continue;
            };
            let handle = Handle::new(*generation, slot as u32, shard_index % SHARDS);
            if visit(handle, value) == Fate::Remove {
                removed.extend(self.vacate(&mut shard, slot).map(|value| (handle, value)));
                if shard.live == 0 {
                    return;
                }
            }
        }
    }

    /// Looks at each entry of one shard (0 to [`SHARDS`]).
    pub(crate) fn for_each(&self, shard_index: usize, mut look: impl FnMut(Handle, &T)) {
        let shard = self.shards[shard_index % SHARDS].lock();
        for (slot, entry) in shard.slots.iter().enumerate() {
            if let Slot::Occupied { generation, value } = entry {
                look(
                    Handle::new(*generation, slot as u32, shard_index % SHARDS),
                    value,
                );
            }
        }
    }

    fn vacate(&self, shard: &mut Shard<T>, slot: usize) -> Option<T> {
        let vacant = Slot::Vacant {
            next_free: shard.first_free,
        };
        let Slot::Occupied { value, .. } = std::mem::replace(&mut shard.slots[slot], vacant) else {
            return None;
        };
        shard.first_free = slot as u32;
        shard.live -= 1;
        self.len.fetch_sub(1, Ordering::Relaxed);
        if shard.live == 0 {
            // The last one out gives the memory back; generations never repeat, so an old
            // handle finds nothing in the fresh slots.
            shard.slots = Vec::new();
            shard.first_free = NO_SLOT;
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_finds_its_value_until_it_is_removed() {
        let slab = Slab::new();
        let handles: Vec<_> = (0..1000).map(|n| slab.insert(n).unwrap()).collect();
        assert_eq!(slab.len(), 1000);
        for (n, handle) in handles.iter().enumerate() {
            assert_eq!(slab.visit(*handle, |value| *value), Some(n));
        }
        for handle in &handles {
            assert!(slab.settle(*handle, |_| ((), Fate::Remove)).1.is_some());
            assert_eq!(slab.visit(*handle, |value| *value), None);
        }
        assert_eq!(slab.len(), 0);
    }

    #[test]
    fn a_reused_slot_does_not_answer_an_old_handle() {
        let slab = Slab::new();
        // Two entries in one shard keep the shard's memory when one of them goes.
        let handles: Vec<_> = (0..2 * SHARDS).map(|n| slab.insert(n).unwrap()).collect();
        let old = handles[0];
        slab.settle(old, |_| ((), Fate::Remove));
        let new = (0..SHARDS)
            .map(|n| slab.insert(n).unwrap())
            .find(|handle| handle.slot() == old.slot() && handle.shard() == old.shard())
            .expect("the free slot is taken again");
        assert_ne!(old, new);
        assert_eq!(slab.visit(old, |value| *value), None);
    }

    #[test]
    fn numbers_that_were_never_handles_find_nothing() {
        let slab = Slab::new();
        let handle = slab.insert(1).unwrap();
        for raw in [0, 1, u64::MAX, handle.raw() | (1 << 63), handle.raw() + 1] {
            assert_eq!(
                slab.visit(Handle::from_raw(raw), |value| *value),
                None,
                "{raw:#x}"
            );
        }
    }

    #[test]
    fn a_shard_can_be_emptied_in_one_visit() {
        let slab = Slab::new();
        (0..3 * SHARDS).for_each(|n| {
            slab.insert(n).unwrap();
        });
        let mut removed = Vec::new();
        for shard in 0..SHARDS {
            slab.settle_shard(shard, |_, _| Fate::Remove, &mut removed);
        }
        assert_eq!((removed.len(), slab.len()), (3 * SHARDS, 0));
    }
}
