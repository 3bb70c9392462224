//! How a connection ends, from either side.

use super::waiting::wake_all;
use super::{Connection, Hold, Incoming, Linked, Surroundings};
use crate::link::Link;
use crate::options::Active;
use crate::origin::Protocol;
use crate::sink::{Reason, Sink};
use crate::slab::Fate;

impl<P: Copy + Eq> Connection<P> {
    /// gen_tcp:close/1, or the owner's death: what was sent still goes out, then a close frame.
    pub(crate) fn release<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        if self.hold == Hold::Held && self.protocol == Protocol::XmppFraming {
            around.counters.session_left(self.origin());
        }
        self.hold = Hold::Released;
        self.active = Active::Passive;
        self.unreserve(around);
        self.clear_input(around);
        self.end_input(around, Incoming::Finished);
        self.close_link(around);
        if let Some(mut watchers) = self.watchers.take() {
            wake_all(&mut watchers, around);
        }
    }

    /// Closes towards the peer once the output is written; the owner reads `{error, closed}`.
    pub(crate) fn close_link<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        if self.linked != Linked::Open {
            return;
        }
        if let Some(output) = &mut self.output {
            // Nobody can send any more, whenever there is room.
            wake_all(&mut output.writers, around);
        }
        self.leave_output(around);
        if self.queued() > 0 {
            self.linked = Linked::Closing;
        } else {
            self.linked = Linked::Gone;
            self.output = None;
            around.close(&self.key);
        }
    }

    /// Ends an idle or drained connection: as [`Connection::close_link`], and no more input.
    pub(crate) fn retire<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        self.close_link(around);
        self.end_input(around, Incoming::Finished);
    }

    /// The peer's close frame, which is answered by ours unless it answers ours. True if the
    /// owner is busy with a request and won't notice.
    pub(crate) fn peer_closed<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) -> bool {
        let busy = self.is_busy();
        if self.linked != Linked::Gone {
            around.close(&self.key);
        }
        self.lose_link(around);
        self.end_input(around, Incoming::Finished);
        busy
    }

    /// The trunk is lost, and `Link` with it. What has come on a stream can still be read, and the end
    /// comes behind it; of a request nobody is left to hear the answer. True if the owner is busy and
    /// won't notice.
    pub(crate) fn lose<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) -> bool {
        if !self.protocol.is_xmpp() {
            return self.break_off(around);
        }
        let busy = self.is_busy();
        self.lose_link(around);
        self.end_input(around, Incoming::Broken(Reason::ConnectionReset));
        busy
    }

    /// The peer has reset it, or it was reset from here: that overtakes whatever came, and whatever was
    /// to go. True if the owner is busy and won't notice.
    pub(crate) fn break_off<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) -> bool {
        let busy = self.is_busy();
        self.lose_link(around);
        self.clear_input(around);
        self.end_input(around, Incoming::Broken(Reason::ConnectionReset));
        busy
    }

    /// Resets the connection alone, which is at fault: the peer is told by RST, or a close frame in
    /// version 1.
    pub(crate) fn reset<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) -> bool {
        if self.linked != Linked::Gone {
            around.link.reset(&self.key, around.counters);
            around.wrote = true;
        }
        self.break_off(around)
    }

    /// The peer is gone: output has nowhere to go.
    pub(super) fn lose_link<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        self.linked = Linked::Gone;
        self.unreserve(around);
        self.drop_output(around);
    }

    /// What waits is lost, and nobody need wait to have more there.
    pub(super) fn drop_output<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        if let Some(mut output) = self.output.take() {
            wake_all(&mut output.writers, around);
            match around.link {
                Link::V1(v1) => v1.outbox.drop_queued(output.queue.len()),
                Link::V2(v2) => v2.backlog.remove(self.wish(output.queue.len())),
            }
        }
    }

    pub(crate) fn fate(&self) -> Fate {
        if self.hold == Hold::Released && self.linked == Linked::Gone {
            Fate::Remove
        } else {
            Fate::Keep
        }
    }
}
