//! The name of a connection on this side of the trunk.

/// Bits of a handle that choose the shard.
pub(crate) const SHARD_BITS: u32 = 6;
/// Bits of a handle that hold shard and slot together: 67 million connections a trunk.
pub(crate) const INDEX_BITS: u32 = 26;

/// A connection in a trunk's table: a slot and the generation that the slot had when the
/// connection opened, so that a handle kept after its connection ended finds nothing.
///
/// ```text
/// 57                26 25            6 5     0
/// +------------------+----------------+-------+
/// | generation (32)  | slot (20)      | shard |
/// +------------------+----------------+-------+
/// ```
///
/// It takes 58 bits, and is a small integer (no heap) in Erlang.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Handle(u64);

impl Handle {
    /// The handle that Erlang sent; any number is safe, a wrong one finds no connection.
    pub fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// The number to send to Erlang.
    pub fn raw(self) -> u64 {
        self.0
    }

    pub(crate) fn new(generation: u32, slot: u32, shard: usize) -> Self {
        Self(
            (u64::from(generation) << INDEX_BITS)
                | (u64::from(slot) << SHARD_BITS)
                | (shard as u64 & ((1 << SHARD_BITS) - 1)),
        )
    }

    pub(crate) fn shard(self) -> usize {
        (self.0 & ((1 << SHARD_BITS) - 1)) as usize
    }

    pub(crate) fn slot(self) -> usize {
        ((self.0 >> SHARD_BITS) & ((1 << (INDEX_BITS - SHARD_BITS)) - 1)) as usize
    }

    /// All bits above the index: a number over 58 bits never equals a real generation.
    pub(crate) fn generation(self) -> u64 {
        self.0 >> INDEX_BITS
    }
}
