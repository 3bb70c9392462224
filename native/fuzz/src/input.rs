//! An input as a list of choices.

/// What is left of an input. At its end each choice is the first.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of an input.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    /// A number below `limit`, which is at least 1 and at most 256.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    /// A length: mostly short, seldom long, 200,000 at most.
    pub fn length(&mut self) -> usize {
        match self.byte() {
            short @ ..0xf0 => usize::from(short),
            medium @ ..=0xfe => usize::from(medium & 0xf) << 8 | usize::from(self.byte()),
            _ => (usize::from(self.byte()) << 8 | usize::from(self.byte())) * 3,
        }
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// How often something is done: mostly once, seldom many times, which is what makes a run many frames.
    pub fn times(&mut self) -> usize {
        match self.byte() {
            few @ ..0xc0 => usize::from(few >> 6) + 1,
            many => usize::from(many & 0x3f) * 2,
        }
    }

    /// The next bytes: so many, or what is left.
    pub fn bytes(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// Cuts `bytes` into pieces as an input says: at each byte, or in lengths that it gives.
pub fn cut<'a>(bytes: &'a [u8], cuts: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    let mut cuts = cuts.iter().cycle();
    std::iter::from_fn(move || {
        let length = cuts.next().map_or(rest.len(), |cut| usize::from(*cut) + 1);
        let (piece, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}
