//! A map from connection ids that a million entries don't make slow.
//!
//! Among that many a lookup waits for memory and for nothing else. So an entry is half a cache
//! line and is found by its hash alone, and [`IdTable::get_all`] has the lines of many under way
//! at a time. A `HashMap` needs two or three lines for one entry, each found by the one before.
//!
//! There are [`SHARDS`] of them, so that growing one moves a 64th of the entries: with a million
//! of them a frame waits half a millisecond for it at most, not thirty.

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;

use megaphone_trunk::v1::{CONNECTION_ID_LEN, ConnectionId};

use crate::handle::Handle;
use crate::slab::TOGETHER;

const SHARDS: usize = 64;
const SMALLEST: usize = 8;

/// What an id on the trunk stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Name {
    /// An open connection.
    Live(Handle),
    /// One that we closed; its frames are dropped.
    Ended {
        /// The second after which the id is forgotten.
        until: u32,
    },
}

/// Names by their id.
pub(crate) struct IdTable {
    shards: Box<[Shard]>,
    keys: [u64; 3],
    len: usize,
}

impl Default for IdTable {
    fn default() -> Self {
        // No peer knows the keys, so none can choose ids that collide.
        let random = RandomState::new();
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            keys: [1, 2, 3].map(|n| random.hash_one(n) | 1),
            len: 0,
        }
    }
}

impl IdTable {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, id: &ConnectionId) -> Option<Name> {
        let hash = self.hash(id);
        let shard = self.shard(hash);
        shard.cells[shard.find(id, hash)?].name.unpack()
    }

    /// What up to [`TOGETHER`] ids stand for.
    pub(crate) fn get_all(&self, ids: impl Iterator<Item = ConnectionId>, found: &mut Vec<Name>) {
        // Each pass is a few instructions an id, and nothing in it waits for what it reads itself.
        let mut asked = [None; TOGETHER];
        for (asked, id) in asked.iter_mut().zip(ids) {
            *asked = Some((id, self.hash(&id)));
        }
        let asked = asked.iter().map_while(Option::as_ref);
        let touched = asked.clone().map(|(_, hash)| {
            let shard = self.shard(*hash);
            let first = shard.cells.get(shard.home(hash.of_cell));
            first.map_or(0, |cell| cell.hash)
        });
        black_box(touched.fold(0, u32::wrapping_add));
        found.extend(asked.filter_map(|(id, hash)| {
            let shard = self.shard(*hash);
            shard.cells[shard.find(id, *hash)?].name.unpack()
        }));
    }

    pub(crate) fn insert(&mut self, id: ConnectionId, name: Name) {
        let hash = self.hash(&id);
        let shard = &mut self.shards[hash.of_shard];
        match shard.find(&id, hash) {
            Some(at) => shard.cells[at].name = PackedName::of(name),
            None => {
                shard.insert(Cell {
                    id: *id.as_bytes(),
                    hash: hash.of_cell,
                    name: PackedName::of(name),
                });
                self.len += 1;
            }
        }
    }

    pub(crate) fn remove(&mut self, id: &ConnectionId) {
        let hash = self.hash(id);
        let shard = &mut self.shards[hash.of_shard];
        if let Some(at) = shard.find(id, hash) {
            shard.remove(at);
            self.len -= 1;
        }
    }

    fn shard(&self, hash: Hash) -> &Shard {
        &self.shards[hash.of_shard]
    }

    fn hash(&self, id: &ConnectionId) -> Hash {
        let word = |from: usize| {
            let bytes = id.as_bytes()[from..].first_chunk();
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let [a, b, c] = [0, 8, 12].map(word);
        let [first, second, third] = self.keys;
        let hash = fold(fold(a ^ first, b ^ second) ^ c, third);
        Hash {
            of_shard: (hash >> 32) as usize % SHARDS,
            of_cell: hash as u32,
        }
    }
}

/// A product's halves, folded into one.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[derive(Clone, Copy)]
struct Hash {
    of_shard: usize,
    of_cell: u32,
}

/// Open addressing: an entry lies at its hash or after it, with no vacant cell between.
#[derive(Default)]
struct Shard {
    /// None, or a power of two, of which a quarter at least is vacant.
    cells: Vec<Cell>,
    len: usize,
}

#[derive(Clone, Copy)]
#[repr(align(32))]
struct Cell {
    id: [u8; CONNECTION_ID_LEN],
    hash: u32,
    name: PackedName,
}

impl Shard {
    fn find(&self, id: &ConnectionId, hash: Hash) -> Option<usize> {
        let mask = self.cells.len().checked_sub(1)?;
        let mut at = self.home(hash.of_cell);
        loop {
            let cell = &self.cells[at];
            if cell.is_vacant() {
                return None;
            }
            if cell.hash == hash.of_cell && cell.id == *id.as_bytes() {
                return Some(at);
            }
            at = (at + 1) & mask;
        }
    }

    fn insert(&mut self, cell: Cell) {
        if (self.len + 1) * 4 > self.cells.len() * 3 {
            self.resize((self.cells.len() * 2).max(SMALLEST));
        }
        self.put(cell);
        self.len += 1;
    }

    fn remove(&mut self, at: usize) {
        self.len -= 1;
        if self.len == 0 {
            self.cells = Vec::new();
            return;
        }
        self.vacate(at);
        if self.len * 8 < self.cells.len() && self.cells.len() > SMALLEST {
            self.resize(self.cells.len() / 2);
        }
    }

    /// Moves the entries behind a cell up to where lookups expect them.
    fn vacate(&mut self, mut hole: usize) {
        let mask = self.cells.len() - 1;
        let mut at = (hole + 1) & mask;
        while !self.cells[at].is_vacant() {
            // It may move if the hole lies between its home and where it is now.
            let home = self.home(self.cells[at].hash);
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.cells[hole] = self.cells[at];
                hole = at;
            }
            at = (at + 1) & mask;
        }
        self.cells[hole] = Cell::VACANT;
    }

    fn resize(&mut self, capacity: usize) {
        let fresh = vec![Cell::VACANT; capacity];
        for cell in std::mem::replace(&mut self.cells, fresh) {
            if !cell.is_vacant() {
                self.put(cell);
            }
        }
    }

    fn put(&mut self, cell: Cell) {
        let mask = self.cells.len() - 1;
        let mut at = self.home(cell.hash);
        while !self.cells[at].is_vacant() {
            at = (at + 1) & mask;
        }
        self.cells[at] = cell;
    }

    fn home(&self, hash: u32) -> usize {
        hash as usize & self.cells.len().wrapping_sub(1)
    }
}

impl Cell {
    const VACANT: Self = Self {
        id: [0; CONNECTION_ID_LEN],
        hash: 0,
        name: PackedName::NONE,
    };

    fn is_vacant(&self) -> bool {
        self.name == PackedName::NONE
    }
}

/// An `Option<Name>` in eight bytes, of which a cell has no more.
#[derive(Clone, Copy, PartialEq, Eq)]
struct PackedName {
    high: u32,
    low: u32,
}

impl PackedName {
    const NONE: Self = Self {
        high: u32::MAX,
        low: 0,
    };
    /// Above the 58 bits of a handle.
    const ENDED: u32 = 1 << 31;

    fn of(name: Name) -> Self {
        match name {
            Name::Live(handle) => Self {
                high: (handle.raw() >> 32) as u32,
                low: handle.raw() as u32,
            },
            Name::Ended { until } => Self {
                high: Self::ENDED,
                low: until,
            },
        }
    }

    fn unpack(self) -> Option<Name> {
        match self.high {
            u32::MAX => None,
            Self::ENDED => Some(Name::Ended { until: self.low }),
            high => {
                let raw = u64::from(high) << 32 | u64::from(self.low);
                Some(Name::Live(Handle::from_raw(raw)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn id(n: u64) -> ConnectionId {
        ConnectionId::try_from(format!("{n:020}").as_bytes()).unwrap()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, u64),
        End(u64, u32),
        Remove(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let handle = 0..1u64 << 58;
        let step = prop_oneof![
            3 => (0..400u64, handle).prop_map(|(n, handle)| Step::Insert(n, handle)),
            1 => (0..400u64, any::<u32>()).prop_map(|(n, until)| Step::End(n, until)),
            3 => (0..400u64).prop_map(Step::Remove),
        ];
        vec(step, 0..2000)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
        #[test]
        fn it_is_a_map(steps in steps()) {
            let mut table = IdTable::default();
            let mut map = HashMap::new();
            for step in steps {
                let (n, name) = match step {
                    Step::Insert(n, handle) => (n, Some(Name::Live(Handle::from_raw(handle)))),
                    Step::End(n, until) => (n, Some(Name::Ended { until })),
                    Step::Remove(n) => (n, None),
                };
                match name {
                    Some(name) => {
                        table.insert(id(n), name);
                        map.insert(n, name);
                    }
                    None => {
                        table.remove(&id(n));
                        map.remove(&n);
                    }
                }
                prop_assert_eq!(table.len(), map.len());
                prop_assert_eq!(table.get(&id(n)), name);
            }
            for n in 0..400 {
                prop_assert_eq!(table.get(&id(n)), map.get(&n).copied(), "{}", n);
            }
            let mut found = Vec::new();
            for from in (0..400).step_by(TOGETHER) {
                table.get_all((from..from + TOGETHER as u64).map(id), &mut found);
            }
            let expected: Vec<_> = (0..448).filter_map(|n| map.get(&n).copied()).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn memory_comes_back_as_entries_go() {
        let mut table = IdTable::default();
        let name = Name::Ended { until: 1 };
        (0..100_000).for_each(|n| table.insert(id(n), name));
        let cells = |table: &IdTable| table.shards.iter().map(|s| s.cells.len()).sum::<usize>();
        assert!(cells(&table) <= 4 * 100_000);
        (100..100_000).for_each(|n| table.remove(&id(n)));
        assert!(cells(&table) <= 32 * SHARDS, "{} cells", cells(&table));
        (0..100).for_each(|n| table.remove(&id(n)));
        assert_eq!((table.len(), cells(&table)), (0, 0));
    }

    #[test]
    fn an_entry_is_half_a_cache_line() {
        assert_eq!(size_of::<Cell>(), 32);
    }
}
