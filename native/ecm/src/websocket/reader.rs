//! A client's frames, put together to messages. Sans-IO.

use super::error::FrameError;
use super::frame::{FrameHeader, MAX_HEADER, Opcode, Part, unmask};

/// Reads messages from a client's bytes in any chunks.
///
/// Between two frames that are messages of their own it holds no memory; within a message, the bytes that
/// have come of it.
#[derive(Debug, Default)]
pub struct MessageReader {
    unfinished: Option<Box<Unfinished>>,
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole text message, which is UTF-8.
    Text(&'a [u8]),
    /// To be answered with the same payload.
    Ping(&'a [u8]),
    /// The answer to a ping.
    Pong,
    /// The payload of a close frame: see [`read_close`](super::close::read_close).
    Close(&'a [u8]),
}

/// What has come of a header, a frame or a message.
#[derive(Debug, Default)]
struct Unfinished {
    /// The first bytes of a header.
    header: [u8; MAX_HEADER],
    header_filled: u8,
    frame: Option<Frame>,
    /// A control frame's payload so far.
    control: Vec<u8>,
    /// A text message so far, and how many of its bytes are known to be UTF-8.
    message: Vec<u8>,
    valid: usize,
    /// Whether a message has begun and not ended.
    in_message: bool,
    handed_over: Option<HandedOver>,
}

/// A frame whose payload is not all there.
#[derive(Debug, Clone, Copy)]
struct Frame {
    header: FrameHeader,
    /// How much of the payload came.
    offset: u64,
}

/// What the caller has looked at by the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HandedOver {
    Message,
    Control,
}

impl MessageReader {
    /// The next of what a client sent, and `input` moved behind what was used; `None` when there is
    /// nothing whole left, and then all of `input` was used. Payloads are unmasked where they lie.
    ///
    /// `max_message` is the most bytes that a message may have.
    ///
    /// # Errors
    /// [`FrameError`]; nothing can be read after it.
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i mut [u8],
        max_message: usize,
    ) -> Result<Option<Event<'a>>, FrameError> {
        self.forget_handed_over();
        let opcode = loop {
            let Some(frame) = self.frame(input, max_message)? else {
                return Ok(None);
            };
            let header = frame.header;
            let left = header.length - frame.offset;
            let there = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
            let (payload, rest) = std::mem::take(input).split_at_mut(there);
            *input = rest;
            unmask(payload, header.mask, frame.offset);
            let is_whole = there as u64 == left;
            if is_whole && header.part == Part::Last && self.unfinished.is_none() {
                return whole(header, payload).map(Some);
            }
            let unfinished = self.unfinished.get_or_insert_default();
            if unfinished.take(frame, payload)? == Taken::Event {
                break header.opcode;
            }
            if !is_whole {
                return Ok(None);
            }
        };
        Ok(self.unfinished.as_ref().map(|it| it.event(opcode)))
    }

    /// Whether a message, a frame or a header has begun and not ended.
    pub fn is_within(&self) -> bool {
        self.unfinished
            .as_ref()
            .is_some_and(|unfinished| unfinished.handed_over.is_none() || unfinished.in_message)
    }

    /// Bytes of memory that a message, a frame or a header in part takes.
    pub fn held(&self) -> usize {
        self.unfinished.as_ref().map_or(0, |unfinished| {
            size_of::<Unfinished>() + unfinished.control.capacity() + unfinished.message.capacity()
        })
    }

    fn forget_handed_over(&mut self) {
        if let Some(unfinished) = &mut self.unfinished {
            match unfinished.handed_over.take() {
                None => {}
                Some(HandedOver::Control) if unfinished.in_message => {
                    unfinished.control = Vec::new();
                }
                Some(HandedOver::Message | HandedOver::Control) => self.unfinished = None,
            }
        }
    }

    /// The frame whose payload comes next: the one that was not whole, or the next one.
    fn frame(
        &mut self,
        input: &mut &mut [u8],
        max_message: usize,
    ) -> Result<Option<Frame>, FrameError> {
        if let Some(unfinished) = &mut self.unfinished
            && let Some(frame) = unfinished.frame.take()
        {
            return Ok(Some(frame));
        }
        let Some(header) = self.header(input)? else {
            return Ok(None);
        };
        self.check(&header, max_message)?;
        Ok(Some(Frame { header, offset: 0 }))
    }

    fn header(&mut self, input: &mut &mut [u8]) -> Result<Option<FrameHeader>, FrameError> {
        let filled = self
            .unfinished
            .as_ref()
            .map_or(0, |unfinished| usize::from(unfinished.header_filled));
        if filled == 0
            && let Some((header, length)) = FrameHeader::read(input)?
        {
            *input = &mut std::mem::take(input)[length..];
            return Ok(Some(header));
        }
        if filled == 0 && input.is_empty() {
            return Ok(None);
        }
        let unfinished = self.unfinished.get_or_insert_default();
        let there = input.len().min(MAX_HEADER - filled);
        unfinished.header[filled..filled + there].copy_from_slice(&input[..there]);
        match FrameHeader::read(&unfinished.header[..filled + there])? {
            Some((header, length)) => {
                unfinished.header_filled = 0;
                *input = &mut std::mem::take(input)[length - filled..];
                if !unfinished.in_message {
                    self.unfinished = None;
                }
                Ok(Some(header))
            }
            None => {
                // No more than 14.
                unfinished.header_filled = (filled + there) as u8;
                *input = &mut [];
                Ok(None)
            }
        }
    }

    /// Whether a frame may come now and be so long.
    fn check(&self, header: &FrameHeader, limit: usize) -> Result<(), FrameError> {
        let message = self
            .unfinished
            .as_ref()
            .filter(|unfinished| unfinished.in_message);
        match (header.opcode, message) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return Ok(()),
            (Opcode::Continuation, None) => return Err(FrameError::NoMessage),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(FrameError::InMessage),
            // RFC 7395 wants text of clients, and ejabberd asks none: Tsung sends binary messages.
            (Opcode::Text | Opcode::Binary, None) | (Opcode::Continuation, Some(_)) => {}
        }
        let before = message.map_or(0, |message| message.message.len() as u64);
        if before.saturating_add(header.length) > limit as u64 {
            return Err(FrameError::TooBig { limit });
        }
        Ok(())
    }
}

/// Whether there is something to hand over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Event,
    Nothing,
}

impl Unfinished {
    /// Takes more of a frame's payload.
    fn take(&mut self, mut frame: Frame, payload: &[u8]) -> Result<Taken, FrameError> {
        let header = frame.header;
        frame.offset += payload.len() as u64;
        let is_whole = frame.offset == header.length;
        if !is_whole {
            self.frame = Some(frame);
        }
        if header.opcode.is_control() {
            self.control.extend_from_slice(payload);
            if is_whole {
                self.handed_over = Some(HandedOver::Control);
                return Ok(Taken::Event);
            }
            return Ok(Taken::Nothing);
        }
        self.in_message = true;
        self.message.extend_from_slice(payload);
        self.check_utf8()?;
        if !is_whole || header.part == Part::More {
            return Ok(Taken::Nothing);
        }
        if self.valid < self.message.len() {
            return Err(FrameError::Utf8);
        }
        self.in_message = false;
        self.handed_over = Some(HandedOver::Message);
        Ok(Taken::Event)
    }

    /// A character may lie across two pieces; all else has to be right at once.
    fn check_utf8(&mut self) -> Result<(), FrameError> {
        match std::str::from_utf8(&self.message[self.valid..]) {
            Ok(text) => self.valid += text.len(),
            Err(error) if error.error_len().is_none() => self.valid += error.valid_up_to(),
            Err(_) => return Err(FrameError::Utf8),
        }
        Ok(())
    }

    fn event(&self, opcode: Opcode) -> Event<'_> {
        if opcode.is_control() {
            event(opcode, &self.control)
        } else {
            event(opcode, &self.message)
        }
    }
}

/// A frame that came whole, outside of a message: what it brings is no copy.
fn whole(header: FrameHeader, payload: &[u8]) -> Result<Event<'_>, FrameError> {
    if !header.opcode.is_control() && std::str::from_utf8(payload).is_err() {
        return Err(FrameError::Utf8);
    }
    Ok(event(header.opcode, payload))
}

const fn event(opcode: Opcode, payload: &[u8]) -> Event<'_> {
    match opcode {
        Opcode::Text | Opcode::Binary | Opcode::Continuation => Event::Text(payload),
        Opcode::Close => Event::Close(payload),
        Opcode::Ping => Event::Ping(payload),
        Opcode::Pong => Event::Pong,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::websocket::close::read_close;

    const LIMIT: usize = 100;

    /// A client's frame: its first byte and its payload.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let mut out = vec![first];
        match payload.len() {
            length @ ..126 => out.push(0x80 | length as u8),
            length => {
                out.push(0xfe);
                out.extend_from_slice(&(length as u16).to_be_bytes());
            }
        }
        out.extend_from_slice(&mask);
        let start = out.len();
        out.extend_from_slice(payload);
        unmask(&mut out[start..], mask, 0);
        out
    }

    /// All that is read from pieces, as text, and why it ended.
    fn read(pieces: &[Vec<u8>]) -> (Vec<String>, Result<(), FrameError>) {
        let mut reader = MessageReader::default();
        let mut seen = Vec::new();
        for piece in pieces {
            let mut piece = piece.clone();
            let mut input = &mut piece[..];
            loop {
                let (name, payload) = match reader.next(&mut input, LIMIT) {
                    Ok(Some(Event::Text(text))) => ("text", text),
                    Ok(Some(Event::Ping(payload))) => ("ping", payload),
                    Ok(Some(Event::Pong)) => ("pong", &[][..]),
                    Ok(Some(Event::Close(payload))) => ("close", payload),
                    Ok(None) => break,
                    Err(error) => return (seen, Err(error)),
                };
                seen.push(format!("{name} {}", String::from_utf8_lossy(payload)));
            }
            assert!(input.is_empty(), "{} bytes are left", input.len());
        }
        if !reader.is_within() {
            let mut nothing = &mut [][..];
            assert_eq!(reader.next(&mut nothing, LIMIT), Ok(None));
            assert!(
                reader.unfinished.is_none() && reader.held() == 0,
                "memory is held between messages"
            );
        }
        (seen, Ok(()))
    }

    /// The same, whole and cut into pieces of each size: these have to agree.
    #[track_caller]
    fn read_however_cut(bytes: &[u8]) -> (Vec<String>, Result<(), FrameError>) {
        let whole = read(&[bytes.to_vec()]);
        for size in 1..bytes.len() {
            let pieces: Vec<_> = bytes.chunks(size).map(<[u8]>::to_vec).collect();
            assert_eq!(read(&pieces), whole, "in pieces of {size}");
        }
        whole
    }

    #[test]
    fn what_is_read() {
        for (frames, expected) in [
            (&[frame(0x81, b"")][..], &["text "][..]),
            (&[frame(0x81, b"hello")], &["text hello"]),
            (
                &[frame(0x81, b"a"), frame(0x81, b"b")],
                &["text a", "text b"],
            ),
            (
                &[frame(0x81, "\u{1f600}é".as_bytes())],
                &["text \u{1f600}é"],
            ),
            (
                &[frame(0x01, b"hel"), frame(0x00, b""), frame(0x80, b"lo")],
                &["text hello"],
            ),
            (&[frame(0x01, b""), frame(0x80, b"")], &["text "]),
            (
                &[frame(0x82, b"one"), frame(0x02, b"tw"), frame(0x80, b"o")],
                &["text one", "text two"],
            ),
            (&[frame(0x89, b"")], &["ping "]),
            (
                &[frame(0x89, &[b'p'; 125])],
                &[&format!("ping {}", "p".repeat(125))],
            ),
            (&[frame(0x8a, b"pong")], &["pong "]),
            (
                &[
                    frame(0x01, b"hel"),
                    frame(0x89, b"1"),
                    frame(0x8a, b""),
                    frame(0x89, b"22"),
                    frame(0x80, b"lo"),
                    frame(0x81, b"next"),
                ],
                &["ping 1", "pong ", "ping 22", "text hello", "text next"],
            ),
            (&[frame(0x88, b"")], &["close "]),
            (&[frame(0x88, b"\x03\xe8bye")], &["close \u{3}\u{fffd}bye"]),
            (
                &[frame(0x01, b"half"), frame(0x88, b"\x03\x20")],
                &["close \u{3} "],
            ),
        ] {
            let (seen, end) = read_however_cut(&frames.concat());
            assert_eq!((&seen[..], end), (&expected.map_strings()[..], Ok(())));
        }
    }

    #[test]
    fn what_is_refused_after_what_came_before() {
        let long = [b'x'; LIMIT + 1];
        let limit = FrameError::TooBig { limit: LIMIT };
        for (frames, expected, error) in [
            (&[frame(0xc1, b"x")][..], &[][..], FrameError::ReservedBit),
            (
                &[frame(0x81, b"a"), frame(0x83, b"x")],
                &["text a"],
                FrameError::Opcode(3),
            ),
            (&[frame(0x8b, b"x")], &[], FrameError::Opcode(11)),
            (&[frame(0x82, b"\xff")], &[], FrameError::Utf8),
            (&[frame(0x80, b"x")], &[], FrameError::NoMessage),
            (&[frame(0x00, b"x")], &[], FrameError::NoMessage),
            (
                &[frame(0x81, b"a"), frame(0x80, b"x")],
                &["text a"],
                FrameError::NoMessage,
            ),
            (
                &[frame(0x01, b"a"), frame(0x81, b"x")],
                &[],
                FrameError::InMessage,
            ),
            (
                &[frame(0x01, b"a"), frame(0x02, b"x")],
                &[],
                FrameError::InMessage,
            ),
            (&[frame(0x09, b"")], &[], FrameError::FragmentedControl),
            (&[vec![0x81, 0x01, b'x']], &[], FrameError::Unmasked),
            (&[vec![0x89, 0xfe, 0, 126]], &[], FrameError::LongControl),
            (&[frame(0x81, &long)], &[], limit.clone()),
            (
                &[frame(0x01, b"x"), frame(0x80, &long[1..])],
                &[],
                limit.clone(),
            ),
            (
                &[frame(0x01, &long[1..]), frame(0x89, b""), frame(0x00, b"x")],
                &["ping "],
                limit,
            ),
            (&[frame(0x81, b"\xff")], &[], FrameError::Utf8),
            (&[frame(0x81, b"a\xc3")], &[], FrameError::Utf8),
            (&[frame(0x81, b"\xed\xa0\x80")], &[], FrameError::Utf8),
            (
                &[frame(0x01, b"\xc3"), frame(0x80, b"x")],
                &[],
                FrameError::Utf8,
            ),
            (
                &[frame(0x01, b"\xc3"), frame(0x80, b"")],
                &[],
                FrameError::Utf8,
            ),
            (&[frame(0x01, b"\xf4\x90")], &[], FrameError::Utf8),
        ] {
            let (seen, end) = read_however_cut(&frames.concat());
            assert_eq!((&seen[..], end), (&expected.map_strings()[..], Err(error)));
        }
    }

    #[test]
    fn a_character_may_lie_across_frames() {
        let text = "é\u{20ac}\u{1f600}".as_bytes();
        for cut in 0..text.len() {
            let frames = [frame(0x01, &text[..cut]), frame(0x80, &text[cut..])].concat();
            let expected = format!("text {}", String::from_utf8_lossy(text));
            assert_eq!(
                read_however_cut(&frames),
                (vec![expected], Ok(())),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn a_frame_that_is_too_big_takes_no_memory() {
        let mut header = vec![0x81, 0xff, 0, 0, 0, 0x10, 0, 0, 0, 0, 1, 2, 3, 4];
        let mut reader = MessageReader::default();
        let error = reader.next(&mut &mut header[..], LIMIT);
        assert_eq!(error, Err(FrameError::TooBig { limit: LIMIT }));
        assert!(reader.unfinished.is_none());
        assert_eq!(size_of::<MessageReader>(), 8);
    }

    #[test]
    fn a_close_code_comes_through() {
        let mut bytes = frame(0x88, b"\x03\xe9");
        let mut reader = MessageReader::default();
        let Ok(Some(Event::Close(payload))) = reader.next(&mut &mut bytes[..], LIMIT) else {
            panic!("a close frame is read");
        };
        assert_eq!(read_close(payload).unwrap().unwrap().number(), 1001);
    }

    trait MapStrings {
        fn map_strings(&self) -> Vec<String>;
    }

    impl MapStrings for [&str] {
        fn map_strings(&self) -> Vec<String> {
            self.iter().map(|text| (*text).to_owned()).collect()
        }
    }

    fn messages() -> impl Strategy<Value = Vec<(String, usize, Vec<u8>)>> {
        // A text, in how many frames, and a ping between them.
        proptest::collection::vec(
            (
                "[a-zé€\u{1f600}]{0,20}",
                1usize..5,
                proptest::collection::vec(any::<u8>(), 0..10),
            ),
            0..10,
        )
    }

    proptest! {
        #[test]
        fn however_messages_are_fragmented_and_cut_they_come_through(
            messages in messages(),
            cuts in proptest::collection::vec(1usize..30, 1..20),
        ) {
            let mut bytes = Vec::new();
            let mut expected = Vec::new();
            for (text, frames, ping) in messages {
                let size = text.len().div_ceil(frames).max(1);
                let parts: Vec<_> = text.as_bytes().chunks(size).collect();
                let count = parts.len().max(1);
                for n in 0..count {
                    let first = (u8::from(n == count - 1) << 7) | u8::from(n == 0);
                    bytes.extend(frame(first, parts.get(n).copied().unwrap_or_default()));
                    if n < count - 1 {
                        bytes.extend(frame(0x89, &ping));
                        expected.push(format!("ping {}", String::from_utf8_lossy(&ping)));
                    }
                }
                expected.push(format!("text {text}"));
            }
            let mut pieces = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                let (piece, left) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece.to_vec());
                rest = left;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(read(&pieces), (expected, Ok(())));
        }

        #[test]
        fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let pieces: Vec<_> = bytes.chunks(7).map(<[u8]>::to_vec).collect();
            prop_assert_eq!(read(&pieces), read(&[bytes]));
        }
    }
}
