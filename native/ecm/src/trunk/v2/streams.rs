//! The streams of a trunk, by their tags.

use std::sync::Arc;

use megaphone_trunk::v2::{Event, Events, StreamId, Tag};
use tokio::sync::mpsc::UnboundedSender;

use crate::trunk::budget::OutputBudget;
use crate::trunk::mailbox::{End, Mailbox};

/// A stream that ejabberd opens; it has no reason to.
const UNWANTED: Tag = Tag::MAX;

/// Where streams go that the other side opens.
pub type Accept = UnboundedSender<Opened>;

/// A stream that the other side has opened: see [`Multiplexer::accept`](super::Multiplexer::accept).
#[derive(Debug)]
pub struct Opened {
    pub(super) id: StreamId,
    pub(super) tag: Tag,
    pub(super) mailbox: Arc<Mailbox>,
}

/// The mailboxes of the streams that are open. A tag is a place in it.
#[derive(Debug, Default)]
pub struct Streams {
    places: Vec<Option<Arc<Mailbox>>>,
    free: Vec<Tag>,
}

impl Streams {
    /// Takes a mailbox in and gives its tag.
    pub fn insert(&mut self, mailbox: Arc<Mailbox>) -> Tag {
        if let Some(tag) = self.free.pop()
            && let Some(place) = self.place(tag)
        {
            *place = Some(mailbox);
            return tag;
        }
        self.places.push(Some(mailbox));
        self.places.len() as Tag - 1
    }

    /// Takes a mailbox out. The stream has to be reset or released before, so that no event names it.
    pub fn remove(&mut self, tag: Tag) {
        if let Some(place) = self.place(tag)
            && place.take().is_some()
        {
            self.free.push(tag);
        }
        if self.free.len() == self.places.len() {
            // A storm of clients that is over costs nothing.
            *self = Self::default();
        }
    }

    /// The mailboxes.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Mailbox>> {
        self.places.iter().flatten()
    }

    /// The next `count` mailboxes from this place on, and the place after them, if there is one.
    pub fn some(&self, from: usize, count: usize) -> (Vec<Arc<Mailbox>>, Option<usize>) {
        let mut some = Vec::new();
        for (place, mailbox) in self.places.iter().enumerate().skip(from) {
            if some.len() == count {
                return (some, Some(place));
            }
            some.extend(mailbox.clone());
        }
        (some, None)
    }

    /// The mailbox of a stream.
    pub fn find(&self, tag: Tag) -> Option<Arc<Mailbox>> {
        self.places.get(usize::try_from(tag).ok()?)?.clone()
    }

    fn get(&self, tag: Tag) -> Option<&Mailbox> {
        self.places.get(usize::try_from(tag).ok()?)?.as_deref()
    }

    fn place(&mut self, tag: Tag) -> Option<&mut Option<Arc<Mailbox>>> {
        self.places.get_mut(usize::try_from(tag).ok()?)
    }
}

/// Hands on what a session tells.
#[derive(Debug)]
pub struct HandOn<'s> {
    streams: &'s mut Streams,
    /// With which the streams that the other side opens are taken, if they are.
    accepts: Option<(&'s Accept, &'s Arc<OutputBudget>)>,
    /// Those that it had no reason to open.
    pub unwanted: Vec<StreamId>,
    /// Whether ejabberd takes no more streams.
    pub gone_away: bool,
}

impl<'s> HandOn<'s> {
    /// To these.
    pub const fn to(streams: &'s mut Streams) -> Self {
        Self {
            streams,
            accepts: None,
            unwanted: Vec::new(),
            gone_away: false,
        }
    }

    /// The same, and takes the streams that the other side opens.
    pub fn accepting(self, accept: Option<&'s Accept>, budget: &'s Arc<OutputBudget>) -> Self {
        Self {
            accepts: accept.map(|accept| (accept, budget)),
            ..self
        }
    }
}

impl<'a> Events<'a> for HandOn<'_> {
    fn opened(&mut self, id: StreamId) -> Tag {
        let Some((accept, budget)) = self.accepts else {
            self.unwanted.push(id);
            return UNWANTED;
        };
        let mailbox = Arc::new(Mailbox::new(Arc::clone(budget)));
        let tag = self.streams.insert(Arc::clone(&mailbox));
        // Nobody takes it any more once the program ends.
        let _ = accept.send(Opened { id, tag, mailbox });
        tag
    }

    fn event(&mut self, event: Event<'a>) {
        match event {
            Event::Data { tag, bytes, .. } => {
                if let Some(mailbox) = self.streams.get(tag) {
                    mailbox.put(bytes);
                }
            }
            Event::Finished { tag, .. } => self.end(tag, End::Closed),
            Event::Reset { tag, .. } => self.end(tag, End::Reset),
            Event::Writable { tag, .. } => {
                if let Some(mailbox) = self.streams.get(tag) {
                    mailbox.wake();
                }
            }
            Event::GoAway => self.gone_away = true,
            // Its mailbox has ended already; and the session keeps the output here.
            Event::Closed { .. } | Event::Opened { .. } | Event::Window { .. } => {}
        }
    }
}

impl HandOn<'_> {
    fn end(&self, tag: Tag, end: End) {
        if let Some(mailbox) = self.streams.get(tag) {
            mailbox.end(end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LimitsConfig;
    use crate::trunk::budget::OutputBudget;
    use crate::trunk::mailbox::Delivery;

    fn mailbox() -> Arc<Mailbox> {
        Arc::new(Mailbox::new(Arc::new(OutputBudget::new(
            &LimitsConfig::default(),
        ))))
    }

    #[test]
    fn places_are_used_again_and_given_back() {
        let mut streams = Streams::default();
        let (one, two) = (mailbox(), mailbox());
        assert_eq!(streams.insert(Arc::clone(&one)), 0);
        assert_eq!(streams.insert(Arc::clone(&two)), 1);
        streams.remove(0);
        streams.remove(0);
        assert!(streams.get(0).is_none());
        let three = mailbox();
        assert_eq!(streams.insert(Arc::clone(&three)), 0);
        HandOn::to(&mut streams).end(0, End::Reset);
        assert_eq!(three.take(), Delivery::End(End::Reset));
        assert_eq!(two.take(), Delivery::Nothing);
        streams.remove(0);
        streams.remove(1);
        streams.remove(7);
        assert_eq!((streams.places.len(), streams.free.len()), (0, 0));
    }
}
