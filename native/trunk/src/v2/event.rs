//! What a session tells its owner.

use super::header::StreamId;

/// A number of the owner's that names a stream in every event, so that it needs no table of ids.
pub type Tag = u64;

/// What happened. Each stream is named by its id and its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The peer opened a stream. Only owners that are closures get it; see [`Events::opened`].
    Opened {
        /// Which stream.
        id: StreamId,
    },
    /// Bytes, where they lie in the input; never none. A frame gives one or more of these.
    ///
    /// The peer gets its window back as [`Session::consumed`](super::Session::consumed) says.
    Data {
        /// Whose bytes.
        id: StreamId,
        /// Its tag.
        tag: Tag,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The peer sends no more.
    Finished {
        /// Which stream.
        id: StreamId,
        /// Its tag.
        tag: Tag,
    },
    /// A write was refused before, and now there is room again.
    Writable {
        /// Which stream.
        id: StreamId,
        /// Its tag.
        tag: Tag,
    },
    /// The peer takes more than it did. Told only with
    /// [`Config::owners_keep_output`](super::Config::owners_keep_output).
    Window {
        /// Which stream.
        id: StreamId,
        /// Its tag.
        tag: Tag,
        /// How many bytes more.
        bytes: u32,
    },
    /// The stream is gone before its end; what was queued is lost.
    Reset {
        /// Which stream.
        id: StreamId,
        /// Its tag.
        tag: Tag,
        /// Which side did it.
        cause: ResetCause,
    },
    /// Both sides sent all they had; the stream is gone.
    Closed {
        /// Which stream.
        id: StreamId,
        /// Its tag.
        tag: Tag,
    },
    /// The peer takes no more streams; those that are open go on.
    GoAway,
}

/// Why a stream was reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetCause {
    /// The peer reset it.
    Peer,
    /// The peer sent data after its FIN, or a second FIN: the stream was reset from here.
    DataAfterFinish,
}

impl ResetCause {
    /// The cause's name in counters.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Peer => "reset_by_peer",
            Self::DataAfterFinish => "data_after_finish",
        }
    }
}

/// The owner of a session, while it reads or writes.
///
/// `'a` is the input's lifetime: data can be kept until the input goes, say to handle it after a
/// lock was released. A closure `FnMut(Event<'a>)` is an owner too; it tags streams with their id.
pub trait Events<'a> {
    /// The peer opened a stream; the answer is its tag.
    fn opened(&mut self, id: StreamId) -> Tag;

    /// Anything else happened.
    fn event(&mut self, event: Event<'a>);
}

impl<'a, F: FnMut(Event<'a>)> Events<'a> for F {
    fn opened(&mut self, id: StreamId) -> Tag {
        self(Event::Opened { id });
        Tag::from(id.get())
    }

    fn event(&mut self, event: Event<'a>) {
        self(event);
    }
}
