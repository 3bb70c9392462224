//! The ids that a peer has used.
//!
//! An id is never used again, but ids need not come in order: hashicorp's client numbers a stream
//! before it sends its SYN, and rust-yamux sends a stream's SYN only with its first bytes, so a
//! later stream may come first. The last 65,536 ids are remembered one by one.

use super::header::StreamId;

/// How many ids back from the highest are remembered.
pub(super) const REMEMBERED: u32 = 1 << 16;

const WORDS: usize = REMEMBERED as usize / 64;

/// What an id is to those used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not used yet.
    Fresh,
    /// Used.
    Used,
    /// So far behind the highest that nobody knows.
    Forgotten,
}

/// Ids of one parity that were used.
#[derive(Debug, Default)]
pub(super) struct UsedIds {
    /// The highest, counted without parity: the first id is 1, for none it is 0.
    highest: u32,
    /// One bit for each of the last ids, at its number modulo [`REMEMBERED`]; made by the first
    /// id that is not the next one.
    bits: Option<Box<[u64; WORDS]>>,
}

impl UsedIds {
    pub(super) fn standing(&self, id: StreamId) -> Standing {
        let number = number(id);
        if number > self.highest {
            return Standing::Fresh;
        }
        if self.highest - number >= REMEMBERED {
            return Standing::Forgotten;
        }
        match &self.bits {
            Some(bits) if bits[word(number)] & bit(number) == 0 => Standing::Fresh,
            // Without bits there never was a gap.
            _ => Standing::Used,
        }
    }

    /// Takes note of an id that was fresh.
    pub(super) fn insert(&mut self, id: StreamId) {
        let number = number(id);
        if number != self.highest.wrapping_add(1) || self.bits.is_some() {
            self.insert_with_bits(number);
        }
        self.highest = self.highest.max(number);
    }

    fn insert_with_bits(&mut self, number: u32) {
        let bits = self.bits.get_or_insert_with(|| Box::new([u64::MAX; WORDS]));
        if number > self.highest {
            let skipped = number - self.highest - 1;
            if skipped >= REMEMBERED {
                bits.fill(0);
            } else {
                clear(bits, self.highest + 1, number);
            }
        }
        bits[word(number)] |= bit(number);
    }
}

/// Marks the ids from one up to another as not used. By words: a peer may skip many with each
/// stream.
fn clear(bits: &mut [u64; WORDS], first: u32, end: u32) {
    let mut at = first;
    while at < end {
        if at.is_multiple_of(64) && end - at >= 64 {
            bits[word(at)] = 0;
            at += 64;
        } else {
            bits[word(at)] &= !bit(at);
            at += 1;
        }
    }
}

const fn number(id: StreamId) -> u32 {
    id.get().div_ceil(2)
}

const fn word(number: u32) -> usize {
    (number % REMEMBERED / 64) as usize
}

const fn bit(number: u32) -> u64 {
    1 << (number % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Forgotten, Fresh, Used};

    fn id(number: u32) -> StreamId {
        StreamId::new(number)
    }

    #[test]
    fn ids_in_order_need_no_memory() {
        let mut ids = UsedIds::default();
        for number in (1..1_000).step_by(2) {
            assert_eq!(ids.standing(id(number)), Fresh);
            ids.insert(id(number));
            assert_eq!(ids.standing(id(number)), Used);
        }
        assert!(ids.bits.is_none());
    }

    #[test]
    fn skipped_ids_may_come_late_once() {
        let mut ids = UsedIds::default();
        for (number, standing) in [
            (7, Fresh),
            (7, Used),
            (1, Fresh),
            (5, Fresh),
            (1, Used),
            (200_001, Fresh),
            (199_999, Fresh),
            (199_999, Used),
            (3, Forgotten),
            (200_001 - 2 * REMEMBERED, Forgotten),
            (200_001 - 2 * (REMEMBERED - 1), Fresh),
            (200_003, Fresh),
            (200_001, Used),
            (u32::MAX, Fresh),
            (u32::MAX, Used),
            (200_003, Forgotten),
            (u32::MAX - 2, Fresh),
        ] {
            assert_eq!(ids.standing(id(number)), standing, "{number}");
            if standing == Fresh {
                ids.insert(id(number));
            }
        }
    }

    #[test]
    fn gaps_of_any_length_are_fresh() {
        for skipped in [1, 62, 63, 64, 65, 127, 200, 5_000, REMEMBERED - 2] {
            let mut ids = UsedIds::default();
            ids.insert(id(1));
            ids.insert(id(3));
            ids.insert(id(3 + 2 * (skipped + 1)));
            for gap in 1..=skipped {
                assert_eq!(ids.standing(id(3 + 2 * gap)), Fresh, "{gap} of {skipped}");
            }
            assert_eq!(ids.standing(id(3)), Used, "{skipped}");
        }
    }

    #[test]
    fn even_ids_count_the_same() {
        let mut ids = UsedIds::default();
        ids.insert(id(2));
        ids.insert(id(6));
        assert_eq!(
            [2, 4, 6, 8].map(|number| ids.standing(id(number))),
            [Used, Fresh, Used, Fresh]
        );
    }
}
