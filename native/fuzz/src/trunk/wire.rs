//! What a peer said and has not arrived.

/// More than this is not said before some of it arrives: it is the frames that count, not how many wait.
const ENOUGH: usize = 64 << 10;

/// Bytes on their way.
#[derive(Default)]
pub struct Wire {
    pub bytes: Vec<u8>,
    arrived: usize,
}

impl Wire {
    /// Whether enough is on its way.
    pub fn is_full(&self) -> bool {
        self.bytes.len() - self.arrived >= ENOUGH
    }

    /// Whether all has arrived.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == self.arrived
    }

    /// As many of the next bytes as there are, up to `most`; [`Wire::put_back`] has to follow.
    pub fn arrive(&mut self, most: usize) -> (Vec<u8>, std::ops::Range<usize>) {
        let start = self.arrived;
        self.arrived = start + most.min(self.bytes.len() - start);
        (std::mem::take(&mut self.bytes), start..self.arrived)
    }

    /// The memory of what has arrived.
    pub fn put_back(&mut self, mut bytes: Vec<u8>) {
        if self.arrived >= ENOUGH || self.arrived == bytes.len() {
            bytes.drain(..self.arrived);
            self.arrived = 0;
        }
        self.bytes = bytes;
    }
}
