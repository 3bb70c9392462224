//! Places in a text.

/// A part of a text, by where it starts and ends, in half the memory of a range. No document that is
/// read has 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    start: u32,
    end: u32,
}

impl Place {
    #[inline]
    pub(crate) const fn new(start: usize, end: usize) -> Self {
        Self {
            start: offset(start),
            end: offset(end),
        }
    }

    #[inline]
    pub(crate) fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// Where a name stands: an optional prefix, a colon and its local part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Name {
    start: u32,
    /// Where the local part starts: after the colon, or at `start`.
    local: u32,
    end: u32,
}

impl Name {
    #[inline]
    pub(crate) const fn new(start: usize, local: usize, end: usize) -> Self {
        Self {
            start: offset(start),
            local: offset(local),
            end: offset(end),
        }
    }

    #[inline]
    pub(crate) fn whole(self, text: &[u8]) -> &[u8] {
        Place {
            start: self.start,
            end: self.end,
        }
        .of(text)
    }

    #[inline]
    pub(crate) fn local(self, text: &[u8]) -> &[u8] {
        self.local_place().of(text)
    }

    pub(crate) fn local_place(self) -> Place {
        Place {
            start: self.local,
            end: self.end,
        }
    }

    /// Empty when there's none.
    #[inline]
    pub(crate) fn prefix(self, text: &[u8]) -> &[u8] {
        Place {
            start: self.start,
            end: self.local.saturating_sub(1),
        }
        .of(text)
    }

    pub(crate) fn has_prefix(self) -> bool {
        self.local > self.start
    }

    pub(crate) fn end(self) -> usize {
        self.end as usize
    }
}

/// The scanner reads no further than a place can say.
#[inline]
const fn offset(offset: usize) -> u32 {
    if offset < u32::MAX as usize {
        offset as u32
    } else {
        u32::MAX
    }
}
