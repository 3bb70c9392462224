//! Why a session ends, or a call is refused.

use super::ceilings::Ceiling;
use super::header::{FrameType, HeaderFault, INITIAL_WINDOW, StreamId};

/// Why a session had to end, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("trunk byte {offset}{}: {fault}", Of(*.stream))]
pub struct SessionError {
    /// The first byte of the frame that ended it, counted from the start of the trunk; for what is
    /// no frame's fault, how many bytes had come.
    pub offset: u64,
    /// The stream that the frame names, if it names one.
    pub stream: Option<StreamId>,
    /// What was wrong.
    pub fault: SessionFault,
}

/// What ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionFault {
    /// The frame has a version, a type or a flag that yamux does not have.
    #[error(transparent)]
    Header(#[from] HeaderFault),
    /// Flags that can't stand together, or not in this type of frame.
    #[error("flags {flags:#06x} in a {} frame", type_name(*.kind))]
    FlagCombination {
        /// The frame's type.
        kind: FrameType,
        /// The frame's flags.
        flags: u16,
    },
    /// A data frame or window update for stream 0.
    #[error("a {} frame for stream 0, which is the session", type_name(*.kind))]
    SessionStream {
        /// The frame's type.
        kind: FrameType,
    },
    /// A ping or go-away that names a stream.
    #[error("a {} frame that names a stream; it must name 0", type_name(*.kind))]
    NotSessionStream {
        /// The frame's type.
        kind: FrameType,
    },
    /// A stream with an even id from the client, or an odd one from the server.
    #[error("opened by the {opener}, whose ids are {}", if *.opener == "client" { "odd" } else { "even" })]
    WrongParity {
        /// `client` or `server`.
        opener: &'static str,
    },
    /// An id that is open or was open before.
    #[error("opened a second time; ids are never used again")]
    ReusedId,
    /// A frame without SYN for a stream that neither side opened.
    #[error("a {} frame for a stream that was never opened", type_name(*.kind))]
    UnknownStream {
        /// The frame's type.
        kind: FrameType,
    },
    /// More data than the stream's window has room for.
    #[error("{length} bytes of data; the window has room for {window}")]
    WindowOverrun {
        /// The frame's length in bytes.
        length: u32,
        /// The room left, in bytes.
        window: u32,
    },
    /// More data for a closed stream than any window has room for.
    #[error("{length} bytes of data; the largest window is {limit}")]
    Oversized {
        /// The frame's length in bytes.
        length: u32,
        /// The most that any stream may send at once, in bytes.
        limit: u32,
    },
    /// A window update after which the window would pass 2^32 - 1 bytes.
    #[error(
        "a window update of {delta} bytes for a window of {window}, together more than 2^32 - 1"
    )]
    WindowOverflow {
        /// What was returned, in bytes.
        delta: u32,
        /// The window before, in bytes.
        window: u32,
    },
    /// The peer did too much that brings no progress.
    #[error("too many {0} for the work done")]
    Ceiling(Ceiling),
    /// No byte came for too long, though the peer was asked.
    #[error("nothing came for {waited_ms} ms after a ping")]
    KeepaliveTimeout {
        /// How long it was waited since the ping, in milliseconds.
        waited_ms: u64,
    },
    /// The peer ends the session for an error that it found.
    #[error("the peer ended the session: {}", go_away_name(*.code))]
    PeerFailed {
        /// The go-away's code: 1 protocol error, 2 internal error.
        code: u32,
    },
}

impl SessionFault {
    /// The fault's name in counters.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Header(HeaderFault::Version { .. }) => "frame_version",
            Self::Header(HeaderFault::Type { .. }) => "frame_type",
            Self::Header(HeaderFault::Flags { .. }) => "frame_flags",
            Self::FlagCombination { .. } => "flag_combination",
            Self::SessionStream { .. } => "session_stream",
            Self::NotSessionStream { .. } => "not_session_stream",
            Self::WrongParity { .. } => "wrong_parity",
            Self::ReusedId => "reused_id",
            Self::UnknownStream { .. } => "unknown_stream",
            Self::WindowOverrun { .. } => "window_overrun",
            Self::Oversized { .. } => "oversized",
            Self::WindowOverflow { .. } => "window_overflow",
            Self::Ceiling(ceiling) => ceiling.name(),
            Self::KeepaliveTimeout { .. } => "keepalive_timeout",
            Self::PeerFailed { .. } => "peer_failed",
        }
    }
}

/// Why a session ends, as a go-away says it (yamux, "Session termination").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum GoAwayCode {
    /// It is over, or will be once the open streams are.
    Normal = 0,
    /// The peer broke a rule.
    ProtocolError = 1,
    /// The sender can't go on.
    InternalError = 2,
}

/// Why no stream can be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The session's ids are used up: open another session.
    #[error("the session has used up its ids; a new trunk is needed")]
    Exhausted,
    /// One side said that it takes no more streams.
    #[error("the session takes no more streams, as one side said go-away")]
    GoneAway,
    /// As many streams are open as may be.
    #[error("{limit} streams are open, which is the most allowed")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The session failed.
    #[error("the session has ended: {0}")]
    Ended(SessionError),
}

/// Why a stream can't do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// There is no such stream, or no more: it was reset, or both sides have finished.
    #[error("the stream is gone")]
    Gone,
    /// [`finish`](super::Session::finish) or [`release`](super::Session::release) came before.
    #[error("the stream is finished; nothing more can be written")]
    Finished,
    /// More was consumed than came.
    #[error("{asked} bytes consumed, {held} were there")]
    Overconsumed {
        /// What the caller says it took, in bytes.
        asked: usize,
        /// What it had and did not take yet, in bytes.
        held: u32,
    },
    /// A reader wants more at once than a window may be.
    #[error("a read of {asked} bytes, the largest window is {limit} (at least {INITIAL_WINDOW})")]
    DemandTooLarge {
        /// What was asked for, in bytes.
        asked: usize,
        /// The configured limit, in bytes.
        limit: u32,
    },
    /// The session failed.
    #[error("the session has ended: {0}")]
    Ended(SessionError),
}

const fn type_name(kind: FrameType) -> &'static str {
    match kind {
        FrameType::Data => "data",
        FrameType::WindowUpdate => "window update",
        FrameType::Ping => "ping",
        FrameType::GoAway => "go-away",
    }
}

fn go_away_name(code: u32) -> String {
    match code {
        0 => "normal".into(),
        1 => "it found a protocol error".into(),
        2 => "it had an internal error".into(),
        code => format!("code {code}, which is unknown"),
    }
}

/// `, stream 7` where there is one.
struct Of(Option<StreamId>);

impl std::fmt::Display for Of {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |id| write!(f, ", stream {id}"))
    }
}
