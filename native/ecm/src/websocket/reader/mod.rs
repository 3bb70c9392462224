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
mod tests;
