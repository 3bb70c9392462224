//! How an [`Exchange`] goes from phase to phase.

use bytes::BytesMut;

use super::found::{Found, Rewritten};
use super::{Current, Exchange, Phase, Reply};
use crate::error::RequestError;
use crate::framing::BodyLength;
use crate::head::{leading_empty_lines, read_head};
use crate::response::RequestKind;

impl Exchange {
    /// Makes as much as possible of the pending bytes.
    pub(super) fn advance(&mut self) {
        loop {
            let went_on = match self.phase {
                Phase::Head => self.read_head(),
                Phase::Collect { head, body } => Ok(self.collect(head as usize, body as usize)),
                Phase::Chunks => self.collect_chunks(),
                _ => Ok(false),
            };
            match went_on {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => return self.refuse(error),
            }
        }
        if self.input_ended {
            self.end_of_input();
        }
        self.give_back();
    }

    fn read_head(&mut self) -> Result<bool, RequestError> {
        let Some(inbox) = &mut self.inbox else {
            return Ok(false);
        };
        let blank = leading_empty_lines(&inbox.pending, &mut self.empty_lines)?;
        let _empty_lines = inbox.pending.split_to(blank);
        let limits = &*self.limits;
        let found = read_head(&inbox.pending, limits, &mut inbox.scan, |head| {
            Found::of(&head, limits)
        })?;
        let Some(found) = found else { return Ok(false) };
        self.empty_lines = 0;
        self.start(found);
        Ok(true)
    }

    fn start(&mut self, found: Found) {
        let Found {
            framing,
            mut len,
            rewritten,
        } = found;
        let goes_on = framing.keep_alive || framing.upgrade || framing.kind == RequestKind::Connect;
        self.current = Current {
            goes_on,
            waits_for_continue: false,
        };
        self.tracker.start(framing.kind);
        let Some(inbox) = &mut self.inbox else { return };
        match rewritten {
            Rewritten::No => {}
            Rewritten::Tidy(mut head) => {
                let rest = inbox.pending.split_off(len);
                len = head.len();
                head.unsplit(rest);
                inbox.pending = head;
            }
            Rewritten::Chunked(request) => {
                let _head = inbox.pending.split_to(len);
                inbox.scan = Default::default();
                if framing.expects_continue && inbox.pending.is_empty() {
                    self.reply = Reply::Continue;
                }
                inbox.chunked = Some(request);
                self.phase = Phase::Chunks;
                return;
            }
        }
        let length = match framing.body {
            BodyLength::Length(length) => length,
            BodyLength::None | BodyLength::Chunked => 0,
        };
        let small = u32::try_from(length).ok().zip(u32::try_from(len).ok());
        match small.filter(|_| length <= self.limits.max_collected_body as u64) {
            Some((body, head)) if !framing.expects_continue => {
                self.phase = Phase::Collect { head, body };
            }
            _ => {
                let there = inbox.pending.len() - len;
                let body = usize::try_from(length).map_or(there, |length| length.min(there));
                inbox.hand_over(len, len + body);
                self.current.waits_for_continue = framing.expects_continue && body == 0;
                self.phase = match length - body as u64 {
                    0 => Phase::Answer,
                    left => Phase::Stream { left },
                };
            }
        }
    }

    /// Hands the request over when all of its body is there.
    fn collect(&mut self, head: usize, body: usize) -> bool {
        match &mut self.inbox {
            Some(inbox) if inbox.pending.len() >= head + body => {
                inbox.hand_over(head, head + body);
                self.handed_over()
            }
            _ => false,
        }
    }

    fn collect_chunks(&mut self) -> Result<bool, RequestError> {
        let Some(inbox) = &mut self.inbox else {
            return Ok(false);
        };
        let Some(mut request) = inbox.chunked.take() else {
            return Ok(false);
        };
        if !request.feed(&mut inbox.pending)? {
            inbox.chunked = Some(request);
            return Ok(false);
        }
        (inbox.head_left, inbox.readable) = request.finish();
        // A client that didn't wait needs no 100 Continue any more.
        self.reply = Reply::None;
        Ok(self.handed_over())
    }

    fn handed_over(&mut self) -> bool {
        self.phase = Phase::Answer;
        if !self.current.goes_on {
            self.drop_pending();
        }
        true
    }

    /// The answer is complete: what the reader left of the request is dropped.
    pub(super) fn answered(&mut self) {
        let left = match self.phase {
            Phase::Stream { left } => left,
            _ => 0,
        };
        // A client that was never told to send its body may leave it out, or send it
        // (RFC 9110, section 10.1.1): what comes next can be read in two ways.
        let unclear = left > 0 && self.current.waits_for_continue && !self.tracker.continued();
        if unclear || !self.current.goes_on || self.tracker.closes() {
            return self.end();
        }
        if let Some(inbox) = &mut self.inbox {
            inbox.consume(usize::MAX);
        }
        self.phase = match left {
            0 => Phase::Head,
            left => Phase::Discard { left },
        };
        self.advance();
    }

    pub(super) fn switch_to_raw(&mut self) {
        self.phase = Phase::Raw;
        if let Some(inbox) = &mut self.inbox {
            let behind = std::mem::take(&mut inbox.pending);
            if inbox.readable.is_empty() {
                inbox.readable = behind;
            } else {
                inbox.readable.extend_from_slice(&behind);
            }
        }
        self.give_back();
    }

    fn end_of_input(&mut self) {
        match self.phase {
            Phase::Head if self.buffered() == 0 => self.end(),
            Phase::Head | Phase::Collect { .. } | Phase::Chunks => {
                self.refuse(RequestError::Incomplete);
            }
            Phase::Discard { .. } => self.end(),
            Phase::Stream { .. } | Phase::Answer | Phase::Raw | Phase::Over => {}
        }
    }

    fn refuse(&mut self, error: RequestError) {
        self.refusal = Some(Box::new(error));
        self.end();
        self.reply = Reply::Refusal;
    }

    pub(super) fn end(&mut self) {
        self.phase = Phase::Over;
        self.reply = Reply::None;
        self.inbox = None;
    }

    pub(super) fn drop_pending(&mut self) {
        if let Some(inbox) = &mut self.inbox {
            inbox.pending = BytesMut::new();
        }
        self.give_back();
    }

    pub(super) fn give_back(&mut self) {
        if self.inbox.as_ref().is_some_and(|inbox| inbox.is_empty()) {
            self.inbox = None;
        }
    }

    pub(super) fn readable_mut(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.inbox
                .get_or_insert_default()
                .readable
                .extend_from_slice(bytes);
        }
    }
}
