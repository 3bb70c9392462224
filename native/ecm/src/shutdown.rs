//! The end of the program, step by step.

/// How far the end of the program has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It serves.
    Serving,
    /// Answers that are due are finished; nothing new is taken.
    Draining,
    /// Time is up: everything is closed at once.
    Ended,
}
