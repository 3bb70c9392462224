//! Reading frames, wherever the transport cut them.

use super::ceilings::Ceiling;
use super::error::{SessionError, SessionFault};
use super::event::{Event, Events};
use super::header::{Flags, FrameType, HEADER_LEN, Header, StreamId};
use super::reading::{Body, End, Fate, Reading};
use super::session::Session;
use super::stream::Marks;
use super::table::WARM;

impl Session {
    /// Reads the next bytes of the trunk, cut anywhere.
    ///
    /// # Errors
    /// The session's end. What came before it in `input` was told; a go-away is queued, and each
    /// later call gives the same error.
    pub fn receive<'a>(
        &mut self,
        mut input: &'a [u8],
        events: &mut impl Events<'a>,
    ) -> Result<(), SessionError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if !input.is_empty() {
            self.keepalive.heard();
        }
        // How much input is left where frames begin whose streams were not brought into the cache.
        let mut cold = input.len();
        while !input.is_empty() {
            match self.reading {
                Reading::Header { len: 0, .. } if input.len() <= cold && self.table.is_large() => {
                    cold = self.warm_ahead(input);
                }
                Reading::Header { len: 0, .. } => match input.split_first_chunk() {
                    Some((bytes, rest)) => {
                        input = rest;
                        self.header(bytes, &mut input, events)?;
                    }
                    None => self.partial_header(&mut input, events)?,
                },
                Reading::Header { .. } => self.partial_header(&mut input, events)?,
                Reading::Data { mut body, left } => {
                    // The owner may have reset or released the stream since the header came.
                    if !self.is_read(body.id) {
                        body.fate = Fate::Drop;
                    }
                    self.data(body, left, &mut input, events);
                }
            }
        }
        self.call_writers(events);
        Ok(())
    }

    /// Whether the peer's bytes so far are whole frames, so that the trunk may end here.
    #[must_use]
    pub const fn is_between_frames(&self) -> bool {
        matches!(self.reading, Reading::Header { len: 0, .. })
    }

    /// How many frames of the peer's came, each with all of its data.
    #[must_use]
    pub const fn whole_frames(&self) -> u64 {
        match self.reading {
            Reading::Header { .. } => self.totals.frames_received,
            Reading::Data { .. } => self.totals.frames_received.saturating_sub(1),
        }
    }

    /// Brings the streams of the next frames into the cache; answers how much of the input is left
    /// after these frames. It never asks for the same frames twice: that is less than there was.
    fn warm_ahead(&self, input: &[u8]) -> usize {
        let mut ids = [StreamId::SESSION; WARM];
        let mut known = 0;
        let mut rest = input;
        while known < WARM
            && let Some((header, after)) = rest.split_first_chunk()
            && let Ok(header) = Header::decode(header)
        {
            ids[known] = header.stream;
            known += 1;
            let data = match header.kind {
                FrameType::Data => usize::try_from(header.length).unwrap_or(usize::MAX),
                _ => 0,
            };
            rest = after.get(data..).unwrap_or_default();
        }
        self.table.warm(&ids[..known]);
        match known {
            0 => 0,
            _ => rest.len(),
        }
    }

    /// Collects a header that comes in pieces.
    fn partial_header<'a>(
        &mut self,
        input: &mut &'a [u8],
        events: &mut impl Events<'a>,
    ) -> Result<(), SessionError> {
        let Reading::Header { mut bytes, len } = self.reading else {
            return Ok(());
        };
        let (piece, rest) = input.split_at(input.len().min(HEADER_LEN - len));
        bytes[len..len + piece.len()].copy_from_slice(piece);
        *input = rest;
        let len = len + piece.len();
        if len == HEADER_LEN {
            self.reading = Reading::default();
            return self.header(&bytes, input, events);
        }
        self.reading = Reading::Header { bytes, len };
        Ok(())
    }

    /// Reads a frame from its whole header on; `input` is what follows it.
    #[inline]
    fn header<'a>(
        &mut self,
        bytes: &[u8; HEADER_LEN],
        input: &mut &'a [u8],
        events: &mut impl Events<'a>,
    ) -> Result<(), SessionError> {
        self.totals.frames_received += 1;
        let at = self.offset;
        self.offset += HEADER_LEN as u64;
        let header = match Header::decode(bytes) {
            Ok(header) => header,
            Err(fault) => return Err(self.fail(at, None, fault.into())),
        };
        let stream = match header.stream {
            StreamId::SESSION => None,
            id => Some(id),
        };
        self.frame(header, input, events)
            .map_err(|fault| self.fail(at, stream, fault))
    }

    #[inline]
    fn frame<'a>(
        &mut self,
        header: Header,
        input: &mut &'a [u8],
        events: &mut impl Events<'a>,
    ) -> Result<(), SessionFault> {
        match header.kind {
            FrameType::Data => {
                let body = self.data_header(header, events)?;
                self.data(body, header.length, input, events);
                Ok(())
            }
            FrameType::WindowUpdate => self.window_update(header, events),
            FrameType::Ping => self.ping(header),
            FrameType::GoAway => self.peer_goes_away(header, events),
        }
    }

    /// Hands on, or drops, what there is of a frame's data.
    #[inline]
    fn data<'a>(
        &mut self,
        body: Body,
        left: u32,
        input: &mut &'a [u8],
        events: &mut impl Events<'a>,
    ) {
        let whole = usize::try_from(left).unwrap_or(usize::MAX);
        let (bytes, rest) = input.split_at(input.len().min(whole));
        *input = rest;
        // No more than `left`.
        let len = bytes.len() as u32;
        self.offset += u64::from(len);
        if body.fate == Fate::Deliver && len > 0 {
            let (id, tag) = (body.id, body.tag);
            events.event(Event::Data { id, tag, bytes });
        }
        self.reading = match left - len {
            0 => Reading::default(),
            left => Reading::Data { body, left },
        };
        if len == left && body.end == End::Finish {
            self.peer_finished(body.id, events);
        }
    }

    fn ping(&mut self, header: Header) -> Result<(), SessionFault> {
        check_session_stream(header)?;
        if header.flags == Flags::SYN {
            self.spend(Ceiling::Pings)?;
            if self.output.pong(header.length) {
                Ok(())
            } else {
                Err(SessionFault::Ceiling(Ceiling::Pings))
            }
        } else if header.flags != Flags::ACK {
            Err(flag_combination(header))
        } else if self.keepalive.answered(header.length) {
            Ok(())
        } else {
            self.spend(Ceiling::Pings)
        }
    }

    fn peer_goes_away<'a>(
        &mut self,
        header: Header,
        events: &mut impl Events<'a>,
    ) -> Result<(), SessionFault> {
        check_session_stream(header)?;
        if header.flags != Flags::NONE {
            return Err(flag_combination(header));
        }
        let code = header.length;
        if code != 0 {
            return Err(SessionFault::PeerFailed { code });
        }
        if self.heard_go_away {
            return self.spend(Ceiling::Pings);
        }
        self.heard_go_away = true;
        events.event(Event::GoAway);
        Ok(())
    }

    fn is_read(&mut self, id: StreamId) -> bool {
        let stream = self.table.get_mut(id);
        stream.is_some_and(|stream| !stream.marks.has(Marks::RELEASED))
    }
}

fn check_session_stream(header: Header) -> Result<(), SessionFault> {
    match header.stream {
        StreamId::SESSION => Ok(()),
        _ => Err(SessionFault::NotSessionStream { kind: header.kind }),
    }
}

pub(super) const fn flag_combination(header: Header) -> SessionFault {
    SessionFault::FlagCombination {
        kind: header.kind,
        flags: header.flags.bits(),
    }
}
