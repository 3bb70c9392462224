//! The streams of a session by their id.
//!
//! ```text
//!   id --hash--> shard --hash--> index: (id, place) ...      open addressing, 8 bytes an entry
//!                                           |
//!                                streams: [Stream, Stream, ...]    dense, no holes
//! ```
//!
//! A lookup reads one line of the index and one of the streams. There are [`SHARDS`] such tables,
//! so that growing one moves a 256th of the streams: with a million of them the longest insertion
//! takes tens of microseconds, where one large table would take tens of milliseconds. What was
//! removed gives its memory back as it goes.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use super::header::StreamId;
use super::stream::Stream;

const SHARDS: usize = 256;
const SMALLEST_INDEX: usize = 8;

/// The streams of a session.
pub(super) struct Table {
    shards: Box<[Shard]>,
    hasher: Hasher,
    len: usize,
}

/// The hash's secret stays out of logs.
impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} streams", self.len)
    }
}

impl Table {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: Hasher::random(),
            len: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn get_mut(&mut self, id: StreamId) -> Option<&mut Stream> {
        let hash = self.hasher.hash(id);
        let shard = &mut self.shards[shard_of(hash)];
        let place = shard.find(id, hash)?.place;
        shard.streams.get_mut(place as usize)
    }

    /// Takes a stream in, whose id must not be there yet.
    pub(super) fn insert(&mut self, stream: Stream) -> &mut Stream {
        let hash = self.hasher.hash(stream.id);
        let shard = &mut self.shards[shard_of(hash)];
        self.len += 1;
        shard.insert(stream, hash, &self.hasher)
    }

    pub(super) fn remove(&mut self, id: StreamId) -> Option<Stream> {
        let hash = self.hasher.hash(id);
        let shard = &mut self.shards[shard_of(hash)];
        let removed = shard.remove(id, hash, &self.hasher)?;
        self.len -= 1;
        Some(removed)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Stream> {
        self.shards.iter().flat_map(|shard| &shard.streams)
    }

    /// How many bytes the table takes, apart from the queues.
    pub(super) fn allocated(&self) -> usize {
        let shard = |shard: &Shard| {
            shard.index.len() * size_of::<Entry>() + shard.streams.capacity() * size_of::<Stream>()
        };
        SHARDS * size_of::<Shard>() + self.shards.iter().map(shard).sum::<usize>()
    }
}

/// The high bits name the shard, the low ones the place in its index.
const fn shard_of(hash: u64) -> usize {
    (hash >> 56) as usize
}

/// A multiplicative hash with a secret.
///
/// A peer chooses its ids. If it knew which of them collide it could make each lookup walk over
/// thousands of entries; without the two random numbers it can't know. What it could learn from
/// the time that answers take is far below the noise of a network.
struct Hasher {
    before: u64,
    factor: u64,
}

impl Hasher {
    /// The standard library's random keys are the seed.
    fn random() -> Self {
        let random = RandomState::new();
        Self {
            before: random.hash_one(0),
            factor: random.hash_one(1) | 1,
        }
    }

    #[inline]
    fn hash(&self, id: StreamId) -> u64 {
        let product =
            u128::from(self.before ^ u64::from(id.get())).wrapping_mul(u128::from(self.factor));
        (product >> 64) as u64 ^ product as u64
    }
}

/// Where a stream lies; id 0, which no stream has, marks a free entry.
#[derive(Clone, Copy)]
struct Entry {
    id: StreamId,
    place: u32,
}

const FREE: Entry = Entry {
    id: StreamId::SESSION,
    place: 0,
};

#[derive(Default)]
struct Shard {
    /// Empty, or a power of two; an entry lies at its hash or after it, with no free one between.
    index: Box<[Entry]>,
    streams: Vec<Stream>,
}

impl Shard {
    #[inline]
    fn find(&self, id: StreamId, hash: u64) -> Option<&Entry> {
        self.index.get(self.probe(id, hash)?)
    }

    /// Where in the index an id is.
    #[inline]
    fn probe(&self, id: StreamId, hash: u64) -> Option<usize> {
        let mask = self.index.len().checked_sub(1)?;
        let mut at = hash as usize & mask;
        // There is always a free entry: the index is at most three quarters full.
        loop {
            let entry = self.index.get(at)?;
            if entry.id == id {
                return Some(at);
            }
            if entry.id == FREE.id {
                return None;
            }
            at = (at + 1) & mask;
        }
    }

    fn insert(&mut self, stream: Stream, hash: u64, hasher: &Hasher) -> &mut Stream {
        if (self.streams.len() + 1) * 4 > self.index.len() * 3 {
            self.resize((self.index.len() * 2).max(SMALLEST_INDEX), hasher);
        }
        let place = self.streams.len();
        let entry = Entry {
            id: stream.id,
            place: place as u32,
        };
        put(&mut self.index, entry, hash);
        if self.streams.len() == self.streams.capacity() {
            // By quarters: half of the room would be empty on average if it doubled.
            self.streams.reserve_exact(place / 4 + 4);
        }
        self.streams.push(stream);
        &mut self.streams[place]
    }

    fn remove(&mut self, id: StreamId, hash: u64, hasher: &Hasher) -> Option<Stream> {
        let at = self.probe(id, hash)?;
        let place = self.index[at].place;
        self.free(at, hasher);
        let removed = self.streams.swap_remove(place as usize);
        if let Some(moved) = self.streams.get(place as usize) {
            let moved = moved.id;
            if let Some(at) = self.probe(moved, hasher.hash(moved)) {
                self.index[at].place = place;
            }
        }
        self.give_back(hasher);
        Some(removed)
    }

    /// Frees an entry and moves those after it up to where lookups expect them.
    fn free(&mut self, mut hole: usize, hasher: &Hasher) {
        let mask = self.index.len() - 1;
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let entry = self.index[at];
            if entry.id == FREE.id {
                break;
            }
            let home = hasher.hash(entry.id) as usize & mask;
            // It may move if the hole lies between its home and where it is now.
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.index[hole] = entry;
                hole = at;
            }
        }
        self.index[hole] = FREE;
    }

    fn give_back(&mut self, hasher: &Hasher) {
        let len = self.streams.len();
        if len == 0 {
            *self = Self::default();
        } else if len * 8 < self.index.len() && self.index.len() > SMALLEST_INDEX {
            self.resize(self.index.len() / 2, hasher);
            self.streams.shrink_to(len + len / 4);
        }
    }

    fn resize(&mut self, len: usize, hasher: &Hasher) {
        let mut index = vec![FREE; len].into_boxed_slice();
        for entry in self.index.iter().filter(|entry| entry.id != FREE.id) {
            put(&mut index, *entry, hasher.hash(entry.id));
        }
        self.index = index;
    }
}

fn put(index: &mut [Entry], entry: Entry, hash: u64) {
    let mask = index.len() - 1;
    let mut at = hash as usize & mask;
    while index[at].id != FREE.id {
        at = (at + 1) & mask;
    }
    index[at] = entry;
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::stream::Marks;
    use super::*;

    fn id(number: u32) -> StreamId {
        StreamId::new(number)
    }

    fn stream(number: u32, tag: u64) -> Stream {
        Stream::new(id(number), tag, Marks::default())
    }

    proptest! {
        /// Whatever comes and goes, the table answers as the standard library's map does.
        #[test]
        fn it_is_a_map(steps in vec((1u32..2_000, any::<bool>()), 0..3_000)) {
            let mut table = Table::new();
            let mut map = HashMap::new();
            for (number, insert) in steps {
                let present = map.contains_key(&number);
                prop_assert_eq!(table.get_mut(id(number)).is_some(), present);
                if insert && !present {
                    table.insert(stream(number, u64::from(number) * 3));
                    map.insert(number, u64::from(number) * 3);
                } else if !insert {
                    let removed = table.remove(id(number)).map(|stream| stream.tag);
                    prop_assert_eq!(removed, map.remove(&number));
                }
                prop_assert_eq!(table.len(), map.len());
            }
            for (number, tag) in &map {
                prop_assert_eq!(table.get_mut(id(*number)).map(|stream| stream.tag), Some(*tag));
            }
            prop_assert_eq!(table.iter().count(), map.len());
        }
    }

    #[test]
    fn a_million_idle_streams_take_less_than_80_bytes_each_and_leave_nothing() {
        let mut table = Table::new();
        let empty = table.allocated();
        for number in 0..1_000_000 {
            table.insert(stream(2 * number + 1, 0));
        }
        let each = table.allocated() / 1_000_000;
        assert!(each < 80, "{each} bytes for an idle stream");
        for number in 0..1_000_000 {
            assert!(table.remove(id(2 * number + 1)).is_some());
        }
        assert_eq!((table.len(), table.allocated()), (0, empty));
    }

    #[test]
    fn neighbours_and_strides_spread_over_the_table() {
        for stride in [2, 512, 1 << 16] {
            let mut table = Table::new();
            for number in 0..10_000 {
                table.insert(stream(1 + number * stride, 0));
            }
            let longest = table.shards.iter().map(|shard| shard.streams.len()).max();
            assert!(
                longest < Some(120),
                "{longest:?} in one shard, 39 on average"
            );
        }
    }
}
