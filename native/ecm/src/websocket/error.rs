//! What a client may not send.

/// What is wrong with a client's frames. After it nothing can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// RSV1, RSV2 or RSV3 is set: that is for extensions, and none was agreed on.
    #[error("a reserved bit is set; use no extension")]
    ReservedBit,
    /// An opcode that has no meaning.
    #[error("unknown opcode {0}")]
    Opcode(u8),
    /// A control frame that is not whole.
    #[error("a fragmented control frame; send it whole")]
    FragmentedControl,
    /// A control frame with more than 125 bytes.
    #[error("a control frame of more than 125 bytes")]
    LongControl,
    /// A frame without a mask.
    #[error("a frame without a mask; clients mask theirs")]
    Unmasked,
    /// A length that is not in its shortest form, or of more than 63 bits.
    #[error("a frame length that is not in its shortest form")]
    Length,
    /// A continuation of nothing.
    #[error("a continuation frame outside of a message")]
    NoMessage,
    /// A message inside of another.
    #[error("a new message before the end of a fragmented one")]
    InMessage,
    /// A close frame of one byte.
    #[error("a close frame of one byte; send a code of two or nothing")]
    ShortClose,
    /// A close code that may not be sent.
    #[error("close code {0} may not be sent")]
    CloseCode(u16),
    /// A close frame's reason is not UTF-8.
    #[error("the reason of a close frame is not UTF-8")]
    CloseReason,
    /// A message is not UTF-8.
    #[error("a message that is not UTF-8")]
    Utf8,
    /// A message with more bytes than are allowed.
    #[error("a message of more than {limit} bytes; send less at once")]
    TooBig {
        /// How many are allowed.
        limit: usize,
    },
}
