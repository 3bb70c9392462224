//! What the peer says.

use super::ceilings::{Ceiling, SMALL_UPDATE, TINY};
use super::error::{SessionError, SessionFault};
use super::event::{Event, Events, ResetCause, Tag};
use super::header::{Flags, FrameType, HEADER_LEN, Header, INITIAL_WINDOW, StreamId};
use super::ids::Standing;
use super::session::Session;
use super::stream::{Marks, Stream};
use super::table::WARM;

/// How far a frame was read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Reading {
    /// The first `len` bytes of a header.
    Header { bytes: [u8; HEADER_LEN], len: usize },
    /// A header, and all but the last `left` bytes of the data after it, at least one.
    Data { body: Body, left: u32 },
}

impl Default for Reading {
    fn default() -> Self {
        Self::Header {
            bytes: [0; HEADER_LEN],
            len: 0,
        }
    }
}

/// Whose data a frame has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Body {
    id: StreamId,
    tag: Tag,
    fate: Fate,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Deliver,
    Drop,
}

/// What follows a frame's last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    More,
    Finish,
}

impl Body {
    const fn dropped(id: StreamId) -> Self {
        Self {
            id,
            tag: 0,
            fate: Fate::Drop,
            end: End::More,
        }
    }
}

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
        Ok(())
    }

    /// Whether the peer's bytes so far are whole frames, so that the trunk may end here.
    #[must_use]
    pub const fn is_between_frames(&self) -> bool {
        matches!(self.reading, Reading::Header { len: 0, .. })
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

    /// Checks a data frame before a byte of it is taken.
    #[inline]
    fn data_header<'a>(
        &mut self,
        header: Header,
        events: &mut impl Events<'a>,
    ) -> Result<Body, SessionFault> {
        let id = header.stream;
        let Header { flags, length, .. } = header;
        if self.admit(header, events)? == Admission::Refused {
            return Ok(Body::dropped(id));
        }
        let Some(stream) = self.table.get_mut(id) else {
            return self.stray(header).map(|()| Body::dropped(id));
        };
        if length > stream.receive_window {
            let window = stream.receive_window;
            return Err(SessionFault::WindowOverrun { length, window });
        }
        stream.receive_window -= length;
        self.totals.bytes_received += u64::from(length);
        if flags == Flags::NONE && length >= TINY && stream.state.can_receive() {
            stream.marks.set(Marks::RECEIVED);
            if !stream.marks.has(Marks::RELEASED) {
                return Ok(Body {
                    id,
                    tag: stream.tag,
                    fate: Fate::Deliver,
                    end: End::More,
                });
            }
        }
        self.unusual_data(header, events)
    }

    /// A data frame with flags, with few bytes, for nobody or too late.
    fn unusual_data<'a>(
        &mut self,
        header: Header,
        events: &mut impl Events<'a>,
    ) -> Result<Body, SessionFault> {
        let id = header.stream;
        let Header { flags, length, .. } = header;
        if flags.has(Flags::RST) {
            return self.peer_reset(id, events).map(|()| Body::dropped(id));
        }
        let Some(stream) = self.table.get_mut(id) else {
            return Ok(Body::dropped(id));
        };
        if !stream.state.can_receive() && (length > 0 || flags.has(Flags::FIN)) {
            self.spoke_after_fin(id, events);
            return Ok(Body::dropped(id));
        }
        let is_first_ack = take_ack(stream, flags);
        if length > 0 {
            stream.marks.set(Marks::RECEIVED);
        }
        let body = Body {
            id,
            tag: stream.tag,
            fate: match stream.marks.has(Marks::RELEASED) {
                true => Fate::Drop,
                false => Fate::Deliver,
            },
            end: match flags.has(Flags::FIN) {
                true => End::Finish,
                false => End::More,
            },
        };
        let is_unused = flags.has(Flags::FIN) && !stream.marks.has(Marks::RECEIVED);
        let is_empty = length == 0 && !is_first_ack && !flags.has(Flags::SYN) && !is_unused;
        if is_unused {
            self.spend_for(id, Ceiling::UnusedStreams)?;
        } else if is_empty && !flags.has(Flags::FIN) {
            self.spend(Ceiling::EmptyFrames)?;
        } else if length > 0 && length < TINY {
            self.spend(Ceiling::TinyFrames)?;
        }
        if body.fate == Fate::Drop {
            self.reset_if_unread(id);
        }
        Ok(body)
    }

    fn window_update<'a>(
        &mut self,
        header: Header,
        events: &mut impl Events<'a>,
    ) -> Result<(), SessionFault> {
        let id = header.stream;
        let Header { flags, length, .. } = header;
        if self.admit(header, events)? == Admission::Refused {
            return Ok(());
        }
        let Some(stream) = self.table.get_mut(id) else {
            return self.stray(header);
        };
        if flags.has(Flags::RST) {
            return self.peer_reset(id, events);
        }
        let window = stream.send_window;
        stream.send_window = window
            .checked_add(length)
            .ok_or(SessionFault::WindowOverflow {
                delta: length,
                window,
            })?;
        self.output.needs_turn(stream);
        let is_first_ack = take_ack(stream, flags);
        let is_late = !stream.state.can_receive();
        let is_unused = !stream.marks.has(Marks::RECEIVED);
        if flags.has(Flags::FIN) {
            if is_late {
                self.spoke_after_fin(id, events);
                return Ok(());
            }
            if is_unused {
                self.spend_for(id, Ceiling::UnusedStreams)?;
            }
            self.peer_finished(id, events);
        } else if length < SMALL_UPDATE && !is_first_ack && !flags.has(Flags::SYN) {
            self.spend(Ceiling::IdleUpdates)?;
        }
        Ok(())
    }

    /// Checks what a stream's frame says of opening it, and opens it.
    #[inline]
    fn admit<'a>(
        &mut self,
        header: Header,
        events: &mut impl Events<'a>,
    ) -> Result<Admission, SessionFault> {
        if header.stream == StreamId::SESSION {
            return Err(SessionFault::SessionStream { kind: header.kind });
        }
        if !header.flags.has(Flags::SYN) {
            return Ok(Admission::Accepted);
        }
        self.peer_opens(header, events)
    }

    fn peer_opens<'a>(
        &mut self,
        header: Header,
        events: &mut impl Events<'a>,
    ) -> Result<Admission, SessionFault> {
        let id = header.stream;
        if header.flags.has(Flags::ACK) || header.flags.has(Flags::RST) {
            return Err(flag_combination(header));
        }
        if self.role.opens(id) {
            let opener = self.role.peer().name();
            return Err(SessionFault::WrongParity { opener });
        }
        let standing = self.peer_ids.standing(id);
        match standing {
            Standing::Used => return Err(SessionFault::ReusedId),
            Standing::Fresh => self.peer_ids.insert(id),
            Standing::Forgotten => {}
        }
        if standing == Standing::Forgotten || self.is_full() || self.has_gone_away() {
            return self.refuse(header).map(|()| Admission::Refused);
        }
        self.totals.streams_opened += 1;
        let tag = events.opened(id);
        let marks = Marks::OWES_ACK;
        let stream = self.table.insert(Stream::new(id, tag, marks));
        self.output.needs_control(stream);
        Ok(Admission::Accepted)
    }

    fn refuse(&mut self, header: Header) -> Result<(), SessionFault> {
        let length = header.length;
        if header.kind == FrameType::Data && length > INITIAL_WINDOW {
            let window = INITIAL_WINDOW;
            return Err(SessionFault::WindowOverrun { length, window });
        }
        self.totals.streams_refused += 1;
        self.output
            .frame(Header::window_update(header.stream, Flags::RST, 0));
        self.spend(Ceiling::RefusedStreams)
    }

    /// A frame for a stream that is not open: an echo of one that was, or a fault.
    fn stray(&mut self, header: Header) -> Result<(), SessionFault> {
        let Header { kind, length, .. } = header;
        let data = match kind {
            FrameType::Data => length,
            _ => 0,
        };
        // A window opens in doublings.
        let limit = self.largest_window().next_power_of_two();
        if data > limit {
            return Err(SessionFault::Oversized { length, limit });
        }
        // rust-yamux names a stream it never opened when it is dropped unused.
        let is_end = header.flags.has(Flags::RST) || (header.flags.has(Flags::FIN) && data == 0);
        if !is_end && !self.was_opened(header.stream) {
            return Err(SessionFault::UnknownStream { kind });
        }
        self.totals.stray_frames += 1;
        self.spend(Ceiling::StrayFrames)
    }

    fn peer_reset<'a>(
        &mut self,
        id: StreamId,
        events: &mut impl Events<'a>,
    ) -> Result<(), SessionFault> {
        let Some(stream) = self.table.get_mut(id) else {
            return Ok(());
        };
        let (tag, marks) = (stream.tag, stream.marks);
        self.totals.resets_received += 1;
        self.remove(id);
        if !marks.has(Marks::RELEASED) {
            let cause = ResetCause::Peer;
            events.event(Event::Reset { id, tag, cause });
        }
        if !marks.has(Marks::RECEIVED) {
            self.spend_for(id, Ceiling::UnusedStreams)
        } else if !marks.has(Marks::SENT) {
            self.spend_for(id, Ceiling::UnansweredStreams)
        } else {
            Ok(())
        }
    }

    /// The peer sends on a stream that it finished: the stream alone pays for it.
    fn spoke_after_fin<'a>(&mut self, id: StreamId, events: &mut impl Events<'a>) {
        let Some(stream) = self.table.get_mut(id) else {
            return;
        };
        let (tag, is_released) = (stream.tag, stream.marks.has(Marks::RELEASED));
        self.send_reset(id);
        if !is_released {
            let cause = ResetCause::DataAfterFinish;
            events.event(Event::Reset { id, tag, cause });
        }
    }

    fn peer_finished<'a>(&mut self, id: StreamId, events: &mut impl Events<'a>) {
        // It is gone if its owner reset it within this frame.
        let Some(stream) = self.table.get_mut(id) else {
            return;
        };
        let (tag, is_released) = (stream.tag, stream.marks.has(Marks::RELEASED));
        let state = stream.state.receive_closed();
        match state {
            Some(state) => stream.state = state,
            None => self.remove(id),
        }
        if !is_released {
            events.event(Event::Finished { id, tag });
            if state.is_none() {
                events.event(Event::Closed { id, tag });
            }
        }
    }

    fn ping(&mut self, header: Header) -> Result<(), SessionFault> {
        check_session_stream(header)?;
        if header.flags == Flags::SYN {
            self.spend(Ceiling::Pings)?;
            match self.output.pong(header.length) {
                true => Ok(()),
                false => Err(SessionFault::Ceiling(Ceiling::Pings)),
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

    /// Spends for a stream, if it was the peer who opened it.
    fn spend_for(&mut self, id: StreamId, ceiling: Ceiling) -> Result<(), SessionFault> {
        match self.role.opens(id) {
            true => Ok(()),
            false => self.spend(ceiling),
        }
    }

    fn is_read(&mut self, id: StreamId) -> bool {
        let stream = self.table.get_mut(id);
        stream.is_some_and(|stream| !stream.marks.has(Marks::RELEASED))
    }

    fn was_opened(&self, id: StreamId) -> bool {
        match self.role.opens(id) {
            true => id < self.next_id(),
            false => self.peer_ids.standing(id) != Standing::Fresh,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Admission {
    Accepted,
    Refused,
}

/// Whether the frame is the first to accept a stream from here.
fn take_ack(stream: &mut Stream, flags: Flags) -> bool {
    let is_first = flags.has(Flags::ACK) && stream.marks.has(Marks::AWAITS_ACK);
    if is_first {
        stream.marks.clear(Marks::AWAITS_ACK);
    }
    is_first
}

fn check_session_stream(header: Header) -> Result<(), SessionFault> {
    match header.stream {
        StreamId::SESSION => Ok(()),
        _ => Err(SessionFault::NotSessionStream { kind: header.kind }),
    }
}

const fn flag_combination(header: Header) -> SessionFault {
    SessionFault::FlagCombination {
        kind: header.kind,
        flags: header.flags.bits(),
    }
}
