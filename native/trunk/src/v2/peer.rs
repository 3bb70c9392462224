//! What the peer says of its streams: data frames and window updates.

use super::ceilings::{Ceiling, SMALL_UPDATE, TINY};
use super::error::SessionFault;
use super::event::{Event, Events, ResetCause};
use super::header::{Flags, FrameType, Header, INITIAL_WINDOW, StreamId};
use super::ids::Standing;
use super::reading::{Body, End, Fate};
use super::receive::flag_combination;
use super::session::Session;
use super::stream::{Marks, Stream};
use super::taking::writable;

impl Session {
    /// Checks a data frame before a byte of it is taken.
    #[inline]
    pub(super) fn data_header<'a>(
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
            return self.spoke_after_fin(id, events).map(|()| Body::dropped(id));
        }
        let is_first_ack = take_ack(stream, flags);
        if length > 0 {
            stream.marks.set(Marks::RECEIVED);
        }
        let body = Body {
            id,
            tag: stream.tag,
            fate: if stream.marks.has(Marks::RELEASED) {
                Fate::Drop
            } else {
                Fate::Deliver
            },
            end: if flags.has(Flags::FIN) {
                End::Finish
            } else {
                End::More
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
            self.drop_unread(id);
        }
        Ok(body)
    }

    pub(super) fn window_update<'a>(
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
        let opened = window
            .checked_add(length)
            .ok_or(SessionFault::WindowOverflow {
                delta: length,
                window,
            })?;
        self.output.open_window(stream, opened);
        // With bytes queued that is told when they are framed.
        if stream.queue.is_none() && stream.marks.has(Marks::REFUSED) {
            writable(stream, events);
        }
        if self.config.owners_keep_output && length > 0 && !stream.marks.has(Marks::RELEASED) {
            let (tag, bytes) = (stream.tag, length);
            events.event(Event::Window { id, tag, bytes });
        }
        let is_first_ack = take_ack(stream, flags);
        let is_late = !stream.state.can_receive();
        let is_unused = !stream.marks.has(Marks::RECEIVED);
        if flags.has(Flags::FIN) {
            if is_late {
                return self.spoke_after_fin(id, events);
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

    /// The peer sends on a stream that it finished: the stream alone pays for it, and it counts as
    /// one that brought no progress.
    fn spoke_after_fin<'a>(
        &mut self,
        id: StreamId,
        events: &mut impl Events<'a>,
    ) -> Result<(), SessionFault> {
        let Some(stream) = self.table.get_mut(id) else {
            return Ok(());
        };
        let (tag, is_released) = (stream.tag, stream.marks.has(Marks::RELEASED));
        self.send_reset(id);
        if !is_released {
            let cause = ResetCause::DataAfterFinish;
            events.event(Event::Reset { id, tag, cause });
        }
        self.spend_for(id, Ceiling::UnansweredStreams)
    }

    pub(super) fn peer_finished<'a>(&mut self, id: StreamId, events: &mut impl Events<'a>) {
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

    /// Spends for a stream, if it was the peer who opened it.
    fn spend_for(&mut self, id: StreamId, ceiling: Ceiling) -> Result<(), SessionFault> {
        if self.role.opens(id) {
            Ok(())
        } else {
            self.spend(ceiling)
        }
    }

    fn was_opened(&self, id: StreamId) -> bool {
        if self.role.opens(id) {
            id.get() < self.next_id
        } else {
            self.peer_ids.standing(id) != Standing::Fresh
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
