//! Clients that ask too often (XEP-0124, sections 11 and 12).

use std::time::{Duration, Instant};

use super::terms::Terms;

/// How often in a row a client that does not poll may ask with an empty request while all that it may
/// have here are unanswered. XEP-0124 would end the session the first time; there are clients that send
/// an empty request right after a stanza.
const HASTY: u8 = 10;

/// Follows how often a client asks.
#[derive(Debug, Default)]
pub struct Activity {
    /// Of a client that polls, the last request, if it was empty and so was its answer; of others, the
    /// last request.
    last: Option<Instant>,
    hasty: u8,
}

/// What a new request brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Brings {
    /// A payload, or a wish.
    Something,
    /// Nothing: it asks for what comes from ejabberd.
    Nothing,
}

/// A client asks too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overactive;

impl Activity {
    /// A new request, with which so many are unanswered.
    pub fn request(
        &mut self,
        brings: Brings,
        unanswered: usize,
        terms: &Terms,
        now: Instant,
    ) -> Result<(), Overactive> {
        let polling = Duration::from_secs(u64::from(terms.polling));
        let soon = self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < polling);
        self.last = Some(now);
        if terms.polls() {
            match brings {
                Brings::Something => self.last = None,
                Brings::Nothing if soon => return Err(Overactive),
                Brings::Nothing => {}
            }
            return Ok(());
        }
        let full = u32::try_from(unanswered).is_ok_and(|unanswered| unanswered >= terms.requests);
        if !(soon && full && brings == Brings::Nothing) {
            self.hasty = 0;
            return Ok(());
        }
        self.hasty = self.hasty.saturating_add(1);
        match self.hasty > HASTY {
            true => Err(Overactive),
            false => Ok(()),
        }
    }

    /// An answer had a payload: who polls may ask for more at once.
    pub fn answered_with_payload(&mut self, terms: &Terms) {
        if terms.polls() {
            self.last = None;
        }
    }
}
