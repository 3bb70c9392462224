//! Reading frames, wherever the transport cut them.

use super::error::FrameError;
use super::header::{Fault, Header, MaxFrameSize, check_prefix};
use super::id::ConnectionId;
use super::layout::HEADER_LEN;

/// What a trunk says, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// Content for a connection, which it opens if the id is new. One frame gives one or more of
    /// these, in order and with nothing of another connection between them; none is empty.
    Content {
        /// Whose content.
        id: ConnectionId,
        /// The bytes, where they lie in the input.
        bytes: &'a [u8],
        /// Whether more of this frame follows.
        part: FramePart,
    },
    /// The peer closes a connection.
    Close {
        /// Which connection.
        id: ConnectionId,
    },
}

/// Where a piece of content stands in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FramePart {
    /// More of the same frame follows.
    More,
    /// The frame ends with it.
    Last,
}

/// Reads frames from a trunk's bytes, however they are cut.
///
/// It keeps at most a header that has not come whole; content is handed on where it lies.
#[derive(Debug, Clone)]
pub struct Decoder {
    max: MaxFrameSize,
    /// How many bytes of the trunk were read.
    offset: u64,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    /// The first `len` bytes of a header came; they were checked.
    Header {
        bytes: [u8; HEADER_LEN],
        len: usize,
    },
    /// `left` bytes of a frame's content are still to come, at least one.
    Content {
        id: ConnectionId,
        left: u64,
    },
    Failed(FrameError),
}

const BETWEEN_FRAMES: State = State::Header {
    bytes: [0; HEADER_LEN],
    len: 0,
};

impl Decoder {
    /// A decoder for the start of a trunk.
    #[must_use]
    pub const fn new(max: MaxFrameSize) -> Self {
        Self {
            max,
            offset: 0,
            state: BETWEEN_FRAMES,
        }
    }

    /// Reads the next bytes of the trunk.
    ///
    /// The input counts as read as far as the iterator was asked; [`Events::unread`] is the rest,
    /// which has to be given to the next call if the iterator is left before its end.
    ///
    /// # Errors
    /// The iterator's last item is a [`FrameError`] where the bytes are no frame of version 1. The
    /// trunk can't be read any further: each later call gives the same error.
    pub fn decode<'d, 'a>(&'d mut self, input: &'a [u8]) -> Events<'d, 'a> {
        Events {
            decoder: self,
            input,
            ended: false,
        }
    }

    /// How many bytes of the trunk were read.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the trunk's bytes so far are whole frames, so that it may end here.
    #[must_use]
    pub const fn is_between_frames(&self) -> bool {
        matches!(self.state, State::Header { len: 0, .. })
    }

    fn next<'a>(&mut self, input: &mut &'a [u8]) -> Option<Result<Event<'a>, FrameError>> {
        match self.state {
            State::Header { len: 0, .. } => match input.first_chunk() {
                Some(bytes) => self.header(bytes, HEADER_LEN, input),
                None => self.partial_header(input),
            },
            State::Header { .. } => self.partial_header(input),
            State::Content { id, left } => self.content(id, left, input),
            State::Failed(error) => Some(Err(error)),
        }
    }

    /// Collects a header that comes in pieces.
    fn partial_header<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Option<Result<Event<'a>, FrameError>> {
        let State::Header { mut bytes, len } = self.state else {
            return None;
        };
        let taken = input.len().min(HEADER_LEN - len);
        if taken == 0 {
            return None;
        }
        bytes[len..len + taken].copy_from_slice(&input[..taken]);
        let len = len + taken;
        if len == HEADER_LEN {
            return self.header(&bytes, taken, input);
        }
        if let Err(fault) = check_prefix(&bytes[..len], self.max) {
            return Some(Err(self.fail(self.offset - (len - taken) as u64, fault)));
        }
        self.advance(taken, input);
        self.state = State::Header { bytes, len };
        None
    }

    /// Acts on a whole header whose last `taken` bytes are the input's first.
    fn header<'a>(
        &mut self,
        bytes: &[u8; HEADER_LEN],
        taken: usize,
        input: &mut &'a [u8],
    ) -> Option<Result<Event<'a>, FrameError>> {
        match Header::parse(bytes, self.max) {
            Err(fault) => Some(Err(
                self.fail(self.offset - (HEADER_LEN - taken) as u64, fault)
            )),
            Ok(Header { id, content_len }) => {
                self.advance(taken, input);
                if content_len == 0 {
                    self.state = BETWEEN_FRAMES;
                    return Some(Ok(Event::Close { id }));
                }
                self.state = State::Content {
                    id,
                    left: content_len,
                };
                self.content(id, content_len, input)
            }
        }
    }

    fn content<'a>(
        &mut self,
        id: ConnectionId,
        left: u64,
        input: &mut &'a [u8],
    ) -> Option<Result<Event<'a>, FrameError>> {
        if input.is_empty() {
            return None;
        }
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
        let bytes = &input[..taken];
        self.advance(taken, input);
        let left = left - taken as u64;
        let part = if left == 0 {
            self.state = BETWEEN_FRAMES;
            FramePart::Last
        } else {
            self.state = State::Content { id, left };
            FramePart::More
        };
        Some(Ok(Event::Content { id, bytes, part }))
    }

    fn advance(&mut self, taken: usize, input: &mut &[u8]) {
        *input = &input[taken..];
        self.offset = self.offset.saturating_add(taken as u64);
    }

    fn fail(&mut self, frame_start: u64, Fault { at, fault }: Fault) -> FrameError {
        let error = FrameError {
            offset: frame_start.saturating_add(at as u64),
            fault,
        };
        self.state = State::Failed(error);
        error
    }
}

/// The events in one piece of input; see [`Decoder::decode`].
#[derive(Debug)]
pub struct Events<'d, 'a> {
    decoder: &'d mut Decoder,
    input: &'a [u8],
    ended: bool,
}

impl<'a> Events<'_, 'a> {
    /// The input that was not read yet: empty once the iterator is at its end, unless it failed.
    #[must_use]
    pub const fn unread(&self) -> &'a [u8] {
        self.input
    }
}

impl<'a> Iterator for Events<'_, 'a> {
    type Item = Result<Event<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let item = self.decoder.next(&mut self.input);
        self.ended = matches!(item, None | Some(Err(_)));
        item
    }
}

impl std::iter::FusedIterator for Events<'_, '_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{HeaderFault, put_close, put_frame};

    fn id() -> ConnectionId {
        ConnectionId::try_from(b"abcdefghijklmnopqrst").unwrap()
    }

    fn decoder() -> Decoder {
        Decoder::new(MaxFrameSize::new(1_000).unwrap())
    }

    #[test]
    fn an_error_names_its_place_in_the_whole_trunk_however_it_is_cut() {
        let mut trunk = Vec::new();
        put_frame(&mut trunk, &id(), b"hello").unwrap();
        put_close(&mut trunk, &id());
        trunk.extend_from_slice(b"0000000040|abcdefghij\x01lmnopqrst|");
        let expected = FrameError {
            offset: 37 + 32 + 21,
            fault: HeaderFault::IdByte { found: 1 },
        };
        for size in 1..=trunk.len() {
            let mut decoder = decoder();
            let found = trunk
                .chunks(size)
                .find_map(|piece| decoder.decode(piece).find_map(Result::err));
            assert_eq!(found, Some(expected), "in pieces of {size} bytes");
        }
        assert_eq!(
            expected.to_string(),
            "trunk byte 90: 0x01 in the connection id, which is 20 bytes of 0x21 to 0x7e"
        );
    }

    #[test]
    fn a_wrong_byte_is_found_before_the_header_is_whole() {
        let mut decoder = decoder();
        assert_eq!(decoder.decode(b"00000").next(), None);
        let error = decoder.decode(b"x").next().unwrap().unwrap_err();
        assert_eq!(
            error.to_string(),
            "trunk byte 5: 'x' (0x78) in the frame's length, which is exactly ten digits"
        );
    }

    #[test]
    fn a_decoder_that_failed_stays_failed() {
        let mut decoder = decoder();
        let mut events = decoder.decode(b"nonsense");
        let error = events.next().unwrap().unwrap_err();
        assert_eq!(events.next(), None);
        let mut frame = Vec::new();
        put_frame(&mut frame, &id(), b"hello").unwrap();
        assert_eq!(decoder.decode(&frame).collect::<Vec<_>>(), [Err(error)]);
    }

    #[test]
    fn a_length_far_above_the_limit_costs_no_memory_and_says_both() {
        let error = decoder()
            .decode(b"9999999999|")
            .next()
            .unwrap()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "trunk byte 0: frame length 9999999999; at most 1000 is allowed"
        );
        let error = decoder()
            .decode(b"0000000031|")
            .next()
            .unwrap()
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "trunk byte 0: frame length 31; it must be at least 32, as it includes the header"
        );
    }

    #[test]
    fn what_was_left_unread_can_be_read_later() {
        let mut trunk = Vec::new();
        put_frame(&mut trunk, &id(), b"one").unwrap();
        put_frame(&mut trunk, &id(), b"two").unwrap();
        let mut decoder = decoder();
        let mut events = decoder.decode(&trunk);
        let first = events.next();
        let unread = events.unread();
        assert_eq!(
            first,
            Some(Ok(Event::Content {
                id: id(),
                bytes: b"one",
                part: FramePart::Last
            }))
        );
        assert_eq!(decoder.offset(), 35);
        let second: Vec<_> = decoder.decode(unread).collect();
        assert_eq!(
            second,
            [Ok(Event::Content {
                id: id(),
                bytes: b"two",
                part: FramePart::Last
            })]
        );
    }

    #[test]
    fn a_trunk_may_end_between_frames_alone() {
        let mut trunk = Vec::new();
        put_frame(&mut trunk, &id(), b"hello").unwrap();
        let whole = trunk.len();
        for cut in 0..=whole {
            let mut decoder = decoder();
            assert!(decoder.decode(&trunk[..cut]).all(|event| event.is_ok()));
            assert_eq!(
                decoder.is_between_frames(),
                cut == 0 || cut == whole,
                "cut at {cut}"
            );
        }
    }
}
