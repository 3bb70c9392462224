//! What became of each message of a user to its partner. A message that went by or to a user whose session was lost,
//! with all that it held, is told apart: no server can do more for it.

use parking_lot::Mutex;

/// How long the nodes of a cluster may take to learn of a new session, in microseconds: ejabberd tells them without
/// waiting for it.
const SETTLES: u64 = 1_000_000;

/// The most messages that are named.
const MAX_NAMED: usize = 20;

/// The messages of all users, by their senders.
#[derive(Debug)]
pub struct Messages(Box<[Mutex<Option<Box<Conversation>>>]>);

/// Those of one user. Most users never have one.
#[derive(Debug, Default)]
struct Conversation {
    /// When each was sent, in microseconds.
    sent_at: Vec<u64>,
    /// Those that arrived, if they came in order: the number that is due.
    due: u32,
    /// Those that were passed over by a later one, and did not come since.
    missing: Vec<u32>,
    doubled: Vec<u32>,
    reordered: Vec<u32>,
    /// Those that came back to their sender as errors.
    returned: Vec<u32>,
    /// Since when the user is away. It may resume its session or not.
    away_since: Option<u64>,
    /// The last time that it was away before.
    last_break: Option<Break>,
    /// Until when messages to the user may go to a session that was lost: a while after a new one took its place.
    lost_until: Option<u64>,
}

/// A time that a user was away, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Break {
    /// Its connection was lost.
    pub from: u64,
    /// It was back.
    pub until: u64,
    /// With its old session.
    pub is_resumed: bool,
}

/// How a message arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// For the first time.
    First,
    /// For the first time, after a later one.
    Late,
    /// Again.
    Again,
}

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It did not arrive.
    Lost,
    /// It arrived again.
    Doubled,
    /// It arrived after a later one.
    Reordered,
}

/// A message with which something is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faulty {
    /// Its sender.
    pub from: usize,
    /// Which of its sender's messages.
    pub number: u32,
    /// When it was sent, in microseconds.
    pub sent_at: u64,
    /// What is wrong.
    pub fault: Fault,
    /// It came back to its sender as an error.
    pub is_returned: bool,
}

/// How many messages have which fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    pub lost: u64,
    pub doubled: u64,
    pub reordered: u64,
}

/// What was wrong since this was asked last.
#[derive(Debug, Default)]
pub struct Outcome {
    /// All of it.
    pub all: Faults,
    /// What of it went by or to a user whose session was lost.
    pub apart: Faults,
    /// How many of the latter, of those that did not arrive, came back to their senders as errors.
    pub returned: u64,
    /// Some of the others.
    pub named: Vec<Faulty>,
}

impl Faults {
    const fn count(&mut self, fault: Fault) {
        match fault {
            Fault::Lost => self.lost += 1,
            Fault::Doubled => self.doubled += 1,
            Fault::Reordered => self.reordered += 1,
        }
    }
}

impl Messages {
    /// Of so many users.
    pub fn new(users: usize) -> Self {
        Self((0..users).map(|_| Mutex::default()).collect())
    }

    fn with<T>(&self, user: usize, act: impl FnOnce(&mut Conversation) -> T) -> T {
        act(self.0[user].lock().get_or_insert_default())
    }

    /// A user sends its next one: its number.
    pub fn send(&self, from: usize, now: u64) -> u32 {
        self.with(from, |it| {
            it.sent_at.push(now);
            u32::try_from(it.sent_at.len() - 1).unwrap_or(u32::MAX)
        })
    }

    /// One of `from` arrived at its partner.
    pub fn arrive(&self, from: usize, number: u32) -> Arrival {
        self.with(from, |it| it.arrive(number))
    }

    /// One came back to its sender as an error.
    pub fn come_back(&self, from: usize, number: u32) {
        self.with(from, |it| it.returned.push(number));
    }

    /// A user's connection was lost.
    pub fn leave(&self, user: usize, now: u64) {
        self.with(user, |it| it.away_since = Some(now));
    }

    /// A user is back, with its old session or a new one.
    pub fn be_back(&self, user: usize, is_resumed: bool, now: u64) {
        let mut place = self.0[user].lock();
        if let Some(it) = &mut *place
            && let Some(from) = it.away_since.take()
        {
            it.last_break = Some(Break {
                from,
                until: now,
                is_resumed,
            });
            if !is_resumed {
                it.lost_until = Some(now + SETTLES);
            }
        }
    }

    /// The last time that a user was away and came back.
    pub fn last_break(&self, user: usize) -> Option<Break> {
        self.0[user].lock().as_ref().and_then(|it| it.last_break)
    }

    /// What was wrong since this was asked last. What has not arrived does not count again.
    pub fn take_outcome(&self, partner: impl Fn(usize) -> usize) -> Outcome {
        let mut outcome = Outcome::default();
        for from in 0..self.0.len() {
            let Some(faulty) = self.0[from].lock().as_mut().map(|it| it.take_faulty(from)) else {
                continue;
            };
            for faulty in faulty {
                outcome.all.count(faulty.fault);
                let lost = [from, partner(from)].map(|user| self.has_lost(user, faulty.sent_at));
                if lost.contains(&true) {
                    outcome.apart.count(faulty.fault);
                    outcome.returned += u64::from(faulty.is_returned);
                } else if outcome.named.len() < MAX_NAMED {
                    outcome.named.push(faulty);
                }
            }
        }
        outcome
    }

    /// Whether a user has lost a session since that time, or may have.
    fn has_lost(&self, user: usize, since: u64) -> bool {
        let place = self.0[user].lock();
        place.as_ref().is_some_and(|it| {
            it.away_since.is_some() || it.lost_until.is_some_and(|until| until >= since)
        })
    }
}

impl Conversation {
    fn arrive(&mut self, number: u32) -> Arrival {
        if number >= self.due {
            self.missing.extend(self.due..number);
            self.due = number + 1;
            return Arrival::First;
        }
        match self.missing.iter().position(|it| *it == number) {
            Some(at) => {
                self.missing.swap_remove(at);
                self.reordered.push(number);
                Arrival::Late
            }
            None => {
                self.doubled.push(number);
                Arrival::Again
            }
        }
    }

    /// The messages with faults.
    fn take_faulty(&mut self, from: usize) -> Vec<Faulty> {
        let sent = u32::try_from(self.sent_at.len()).unwrap_or(u32::MAX);
        let mut lost = std::mem::take(&mut self.missing);
        lost.extend(self.due..sent);
        self.due = sent;
        let returned = std::mem::take(&mut self.returned);
        let by_fault = [
            (Fault::Lost, lost),
            (Fault::Doubled, std::mem::take(&mut self.doubled)),
            (Fault::Reordered, std::mem::take(&mut self.reordered)),
        ];
        let mut all = Vec::new();
        for (fault, numbers) in by_fault {
            for number in numbers {
                all.push(Faulty {
                    from,
                    number,
                    sent_at: self.sent_at.get(number as usize).copied().unwrap_or(0),
                    fault,
                    is_returned: fault == Fault::Lost && returned.contains(&number),
                });
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two users, each the other's partner.
    fn outcome(messages: &Messages) -> Outcome {
        messages.take_outcome(|user| user ^ 1)
    }

    fn faults(lost: u64, doubled: u64, reordered: u64) -> Faults {
        Faults {
            lost,
            doubled,
            reordered,
        }
    }

    #[test]
    fn each_message_counts_once_in_whatever_order() {
        let messages = Messages::new(2);
        for expected in 0..5 {
            assert_eq!(messages.send(0, 0), expected);
        }
        use Arrival::{Again, First, Late};
        let arrivals = [0, 2, 2, 1, 1, 4, 0].map(|number| messages.arrive(0, number));
        assert_eq!(arrivals, [First, First, Again, Late, Again, First, Again]);
        let outcome = outcome(&messages);
        assert_eq!(outcome.all, faults(1, 3, 1));
        assert_eq!(outcome.apart, Faults::default());
        assert_eq!(outcome.named[0].number, 3);
        assert_eq!(self::outcome(&messages).all, Faults::default());
    }

    #[test]
    fn what_a_lost_session_may_have_held_is_told_apart() {
        for user in [0, 1] {
            let messages = Messages::new(2);
            messages.send(0, 10);
            messages.leave(user, 15);
            messages.be_back(user, false, 20);
            messages.send(0, 20 + SETTLES);
            messages.send(0, 21 + SETTLES);
            let outcome = outcome(&messages);
            assert_eq!(
                (outcome.all, outcome.apart),
                (faults(3, 0, 0), faults(2, 0, 0))
            );
            assert_eq!(outcome.named[0].number, 2);
        }
    }

    #[test]
    fn a_resumed_session_has_lost_nothing() {
        let messages = Messages::new(2);
        messages.send(0, 10);
        messages.leave(1, 15);
        messages.be_back(1, true, 20);
        let outcome = outcome(&messages);
        assert_eq!((outcome.all.lost, outcome.apart.lost), (1, 0));
        assert_eq!(
            messages.last_break(1),
            Some(Break {
                from: 15,
                until: 20,
                is_resumed: true
            })
        );
    }

    #[test]
    fn who_is_away_may_have_lost_anything() {
        let messages = Messages::new(2);
        messages.leave(1, 15);
        messages.send(0, 30);
        assert_eq!(outcome(&messages).apart.lost, 1);
    }

    #[test]
    fn what_came_back_as_an_error_did_not_arrive() {
        let messages = Messages::new(2);
        messages.send(0, 10);
        messages.send(0, 10);
        messages.leave(1, 15);
        messages.come_back(0, 0);
        let outcome = outcome(&messages);
        assert_eq!((outcome.apart.lost, outcome.returned), (2, 1));
    }
}
