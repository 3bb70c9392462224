//! The streams of a session by their id.
//!
//! ```text
//!   id --hash--> shard --hash--> index: part of the hash, place     4 bytes an entry
//!                                                          |
//!                                  streams: [Stream, Stream, ...]    32 bytes, dense, no holes
//! ```
//!
//! With a million streams hardly anything of them is in the cache: a lookup costs what it costs to
//! wait for memory, one line of the index and one of the streams. [`Table::warm`] asks for many
//! lines at once and waits once. Streams that were opened one after the other lie side by side.
//!
//! There are [`SHARDS`] such tables, so that growing one moves a 256th of the streams: with a
//! million of them the longest insertion takes tens of microseconds, where one large table would
//! take tens of milliseconds. What was removed gives its memory back as it goes.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;

use super::header::StreamId;
use super::stream::Stream;

const SHARDS: usize = 256;
const SMALLEST_INDEX: usize = 8;

/// The most streams that a table takes.
pub(super) const MOST_STREAMS: usize = 1 << 28;

/// With more streams than this their entries outgrow a core's own cache.
const LARGE: usize = 8192;

/// How many entries are asked for at a time: more than a core can wait for at once.
pub(super) const WARM: usize = 64;

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
        let shard = &mut self.shards[hash.shard()];
        let place = shard.find(id, hash)?.place;
        shard.streams.get_mut(place)
    }

    /// Takes a stream in, whose id must not be there yet.
    pub(super) fn insert(&mut self, stream: Stream) -> &mut Stream {
        self.len += 1;
        let hash = self.hasher.hash(stream.id);
        self.shards[hash.shard()].insert(stream, hash, &self.hasher)
    }

    pub(super) fn remove(&mut self, id: StreamId) -> Option<Stream> {
        let hash = self.hasher.hash(id);
        let removed = self.shards[hash.shard()].remove(id, hash, &self.hasher)?;
        self.len -= 1;
        Some(removed)
    }

    /// Whether there are too many streams for their entries to be in the cache.
    pub(super) const fn is_large(&self) -> bool {
        self.len > LARGE
    }

    /// Brings the entries of some streams into the cache, all at once.
    pub(super) fn warm(&self, ids: &[StreamId]) {
        for ids in ids.chunks(WARM) {
            // Each pass is a few instructions an id, and nothing in it waits for what it reads
            // itself, so the processor has the lines of many ids under way at a time.
            let mut hashes = [Hash::default(); WARM];
            let hashes = &mut hashes[..ids.len()];
            for (hash, id) in hashes.iter_mut().zip(ids) {
                *hash = self.hasher.hash(*id);
            }
            let touched = hashes.iter().map(|hash| {
                let index = &self.shards[hash.shard()].index;
                let first = index.get(hash.home(index.len().wrapping_sub(1)));
                first.map_or(0, |entry| entry.0)
            });
            black_box(touched.fold(0, u32::wrapping_add));
            let mut places = [(0, 0); WARM];
            let places = &mut places[..ids.len()];
            for (place, hash) in places.iter_mut().zip(hashes) {
                let shard = hash.shard();
                *place = (shard, self.shards[shard].guess(*hash));
            }
            let touched = places.iter().map(|(shard, place)| {
                let stream = self.shards[*shard].streams.get(*place);
                stream.map_or(0, |stream| stream.receive_window)
            });
            black_box(touched.fold(0, u32::wrapping_add));
        }
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

/// A hash with a secret: two multiplications folded, as wyhash does.
///
/// A peer chooses its ids. If it knew which of them collide it could make each lookup walk over
/// thousands of entries; without the random numbers it can't know. What it could learn from the
/// time that answers take is far below the noise of a network.
struct Hasher {
    keys: [u64; 4],
}

impl Hasher {
    /// The standard library's random keys are the seed.
    fn random() -> Self {
        let random = RandomState::new();
        Self {
            keys: [0, 1, 2, 3].map(|n| random.hash_one(n) | 1),
        }
    }

    #[inline]
    fn hash(&self, id: StreamId) -> Hash {
        let [before, first, between, second] = self.keys;
        let (block, within) = (id.get() >> BLOCK_BITS, id.get() % (1 << BLOCK_BITS));
        let of_block = fold(fold(before ^ u64::from(block), first) ^ between, second);
        Hash {
            of_block,
            of_id: of_block.wrapping_add(first.wrapping_mul(u64::from(within))),
        }
    }
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a).wrapping_mul(u128::from(b));
    (product >> 64) as u64 ^ product as u64
}

/// Sixteen neighbours of one parity share a shard, so that their streams lie side by side.
const BLOCK_BITS: u32 = 5;

#[derive(Clone, Copy, Default)]
struct Hash {
    of_block: u64,
    of_id: u64,
}

impl Hash {
    #[inline]
    const fn shard(self) -> usize {
        (self.of_block >> 32) as usize % SHARDS
    }

    /// Where in an index, of which the last place is given, an id is looked for first.
    #[inline]
    const fn home(self, mask: usize) -> usize {
        self.of_id as usize & mask
    }
}

/// Ten bits of an id's hash, and where its stream lies plus one; 0 is a free entry.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry(u32);

const FREE: Entry = Entry(0);
const PLACE_BITS: u32 = 22;
const PLACE_MASK: u32 = (1 << PLACE_BITS) - 1;

impl Entry {
    /// There are 2^28 streams at most, so a shard has hardly ever more than 2^20.
    #[inline]
    const fn new(hash: Hash, place: usize) -> Self {
        Self(Self::part(hash) | ((place as u32 + 1) & PLACE_MASK))
    }

    #[inline]
    const fn is_like(self, hash: Hash) -> bool {
        self.0 & !PLACE_MASK == Self::part(hash)
    }

    #[inline]
    const fn place(self) -> usize {
        (self.0 & PLACE_MASK) as usize - 1
    }

    /// The high bits; the low ones say where in the index it is.
    #[inline]
    const fn part(hash: Hash) -> u32 {
        (hash.of_id >> 32) as u32 & !PLACE_MASK
    }
}

struct Found {
    /// Where in the index.
    at: usize,
    /// Where among the streams.
    place: usize,
}

#[derive(Default)]
struct Shard {
    /// Empty, or a power of two; an entry lies at its hash or after it, with no free one between.
    index: Box<[Entry]>,
    streams: Vec<Stream>,
}

impl Shard {
    #[inline]
    fn find(&self, id: StreamId, hash: Hash) -> Option<Found> {
        let mask = self.index.len().checked_sub(1)?;
        let mut at = hash.home(mask);
        // There is always a free entry: the index is at most three quarters full.
        loop {
            let entry = *self.index.get(at)?;
            if entry == FREE {
                return None;
            }
            if entry.is_like(hash) {
                let place = entry.place();
                if self.streams.get(place).is_some_and(|it| it.id == id) {
                    return Some(Found { at, place });
                }
            }
            at = (at + 1) & mask;
        }
    }

    /// Where an id's stream most likely lies, without looking at it.
    #[inline]
    fn guess(&self, hash: Hash) -> usize {
        let Some(mask) = self.index.len().checked_sub(1) else {
            return 0;
        };
        let mut at = hash.home(mask);
        while let Some(entry) = self.index.get(at).filter(|entry| **entry != FREE) {
            if entry.is_like(hash) {
                return entry.place();
            }
            at = (at + 1) & mask;
        }
        0
    }

    fn insert(&mut self, stream: Stream, hash: Hash, hasher: &Hasher) -> &mut Stream {
        let place = self.streams.len();
        if (place + 1) * 4 > self.index.len() * 3 {
            self.resize((self.index.len() * 2).max(SMALLEST_INDEX), hasher);
        }
        put(&mut self.index, Entry::new(hash, place), hash);
        if place == self.streams.capacity() {
            // By quarters: half of the room would be empty on average if it doubled.
            self.streams.reserve_exact(place / 4 + 4);
        }
        self.streams.push(stream);
        &mut self.streams[place]
    }

    fn remove(&mut self, id: StreamId, hash: Hash, hasher: &Hasher) -> Option<Stream> {
        let Found { at, place } = self.find(id, hash)?;
        self.free(at, hasher);
        let last = self.streams.last()?.id;
        if last != id {
            // It takes the place of the one that goes.
            let hash = hasher.hash(last);
            if let Some(Found { at, .. }) = self.find(last, hash) {
                self.index[at] = Entry::new(hash, place);
            }
        }
        let removed = self.streams.swap_remove(place);
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
            if entry == FREE {
                break;
            }
            let home = hasher.hash(self.streams[entry.place()].id).home(mask);
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
        for (place, stream) in self.streams.iter().enumerate() {
            let hash = hasher.hash(stream.id);
            put(&mut index, Entry::new(hash, place), hash);
        }
        self.index = index;
    }
}

fn put(index: &mut [Entry], entry: Entry, hash: Hash) {
    let mask = index.len() - 1;
    let mut at = hash.home(mask);
    while index[at] != FREE {
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
    fn a_million_idle_streams_take_less_than_60_bytes_each_and_leave_nothing() {
        let mut table = Table::new();
        let empty = table.allocated();
        for number in 0..1_000_000 {
            table.insert(stream(2 * number + 1, 0));
        }
        let each = table.allocated() / 1_000_000;
        assert!(each < 60, "{each} bytes for an idle stream");
        for number in 0..1_000_000 {
            assert!(table.remove(id(2 * number + 1)).is_some());
        }
        assert_eq!((table.len(), table.allocated()), (0, empty));
    }

    #[test]
    fn neighbours_and_strides_spread_over_the_table() {
        for stride in [2, 512, 1 << 16] {
            let mut table = Table::new();
            for number in 0..60_000 {
                table.insert(stream(1 + number * stride, 0));
            }
            let longest = table.shards.iter().map(|shard| shard.streams.len()).max();
            // With neighbours together the shards are less even: 15 blocks of 16 on average.
            assert!(
                longest < Some(600),
                "{longest:?} in a shard, 234 on average"
            );
        }
    }
}
