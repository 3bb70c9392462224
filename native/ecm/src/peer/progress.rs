//! What a step of a client's task came to.

/// Whether a step changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// It may be worth another one.
    Yes,
    /// Something has to happen first.
    No,
}

impl Moved {
    /// Whether any of these did.
    pub fn any<const N: usize>(moved: [Self; N]) -> Self {
        if moved.contains(&Self::Yes) {
            Self::Yes
        } else {
            Self::No
        }
    }
}
