//! What the answers that this program gives itself have in common.

/// What becomes of a connection after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Another request may follow.
    KeepAlive,
    /// It is closed.
    Close,
}

impl After {
    /// The field that says so, with its line's end; HTTP/1.1 needs none to go on.
    pub const fn field(self) -> &'static str {
        match self {
            Self::KeepAlive => "",
            Self::Close => "Connection: close\r\n",
        }
    }
}
