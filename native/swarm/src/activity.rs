//! What users do besides messages: they show that they are there, ask for acknowledgements and answers, and change
//! their presence. Each activity and each answer is counted.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use megaphone_xmpp::xml::Root;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::stanza::PING_ID;
use crate::swarm::Swarm;

/// How often those whose turn has come are told.
const TURN: Duration = Duration::from_millis(2);

/// How long the last answers may take.
const LATE: Duration = Duration::from_secs(10);

/// One of the things that a user does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Activity {
    /// What keeps the connection of a transport: white space in an XML stream (RFC 6120, 4.6.1), which nobody
    /// answers, a ping of WebSocket (RFC 6455, 5.5.2), or a new BOSH request for the one that is held (XEP-0124, 10).
    KeepAlive = 1,
    /// `<r/>` of stream management (XEP-0198, 4).
    Acknowledgement,
    /// A ping to the server (XEP-0199, 4.2).
    Ping,
    /// Another text in the presence, which all contacts get (RFC 6121, 4.4).
    Presence,
}

impl Activity {
    const ALL: [Self; 4] = [
        Self::KeepAlive,
        Self::Acknowledgement,
        Self::Ping,
        Self::Presence,
    ];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KeepAlive => "keep-alive",
            Self::Acknowledgement => "acknowledgement",
            Self::Ping => "ping",
            Self::Presence => "presence",
        }
    }

    /// The activity of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// An activity for a while, by the first user of each of some groups, in turn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Act {
    /// What they do.
    pub activity: Activity,
    /// How often a second, over all of them.
    pub rate: f64,
    /// For so long.
    pub duration: Duration,
    /// How many groups. So a user has its turn every `groups / rate` seconds.
    pub groups: usize,
    /// How many users a group has, who follow each other. They are each other's contacts, if it has several.
    pub size: usize,
}

impl Act {
    /// How many answers each time has.
    fn answers(&self) -> u64 {
        match self.activity {
            Activity::Presence => self.size as u64 - 1,
            _ => 1,
        }
    }
}

/// What came of an [`Act`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Acted {
    /// How often it was done.
    pub done: u64,
    /// How many answers that has.
    pub expected: u64,
    /// How many came. White space in an XML stream counts as answered once it is written.
    pub answered: u64,
    /// From the first to the last time (seconds).
    pub seconds: f64,
}

impl Acted {
    /// That of several processes at the same time.
    pub fn merged(all: &[Self]) -> Self {
        Self {
            done: all.iter().map(|one| one.done).sum(),
            expected: all.iter().map(|one| one.expected).sum(),
            answered: all.iter().map(|one| one.answered).sum(),
            seconds: all.iter().map(|one| one.seconds).fold(0.0, f64::max),
        }
    }
}

/// What is done now, and how often.
#[derive(Debug, Default)]
pub struct Acts {
    now: AtomicU8,
    done: AtomicU64,
    answered: AtomicU64,
}

impl Acts {
    /// What users do whose turn it is.
    pub fn now(&self) -> Option<Activity> {
        let now = self.now.load(Relaxed);
        Activity::ALL.into_iter().find(|one| *one as u8 == now)
    }

    /// A user has done it; how many had before.
    pub fn done(&self) -> u64 {
        self.done.fetch_add(1, Relaxed)
    }

    /// An answer has come.
    pub fn answered(&self) {
        self.answered.fetch_add(1, Relaxed);
    }

    /// A document has come to a user, which may be an answer; `own` is what its own addresses begin with.
    pub fn heard(&self, root: &Root<'_>, own: impl FnOnce() -> String) {
        let attribute = |name, value| root.attribute(name).as_deref() == Some(value);
        let is_answer = match self.now() {
            None | Some(Activity::KeepAlive) => false,
            Some(Activity::Acknowledgement) => root.name() == "a",
            Some(Activity::Ping) => {
                root.name() == "iq" && attribute("type", "result") && attribute("id", PING_ID)
            }
            Some(Activity::Presence) => {
                root.name() == "presence"
                    && root.attribute("type").is_none()
                    && root
                        .attribute("from")
                        .is_some_and(|from| !from.starts_with(&own()))
            }
        };
        if is_answer {
            self.answered();
        }
    }

    /// Has it done, and waits for the answers.
    pub async fn act(swarm: &Swarm, act: Act) -> Acted {
        let acts = &swarm.acts;
        acts.done.store(0, Relaxed);
        acts.answered.store(0, Relaxed);
        acts.now.store(act.activity as u8, Relaxed);
        let started = Instant::now();
        let mut told = 0;
        while started.elapsed() < act.duration && !swarm.is_ending() {
            let due = (started.elapsed().as_secs_f64() * act.rate) as usize;
            for turn in told..due {
                let member = &swarm.members[turn % act.groups * act.size];
                member.to_act.fetch_add(1, Relaxed);
                member.wake.notify_one();
            }
            told = due;
            sleep(TURN).await;
        }
        let seconds = started.elapsed().as_secs_f64();
        let expected = told as u64 * act.answers();
        let deadline = Instant::now() + LATE;
        while acts.answered.load(Relaxed) < expected && Instant::now() < deadline {
            sleep(TURN).await;
        }
        acts.now.store(0, Relaxed);
        Acted {
            done: acts.done.load(Relaxed),
            expected,
            answered: acts.answered.load(Relaxed),
            seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(activity: Activity, documents: &[&str]) -> Vec<bool> {
        let acts = Acts::default();
        acts.now.store(activity as u8, Relaxed);
        documents
            .iter()
            .map(|document| {
                let before = acts.answered.load(Relaxed);
                acts.heard(&Root::new(document.as_bytes()).unwrap(), || {
                    "u1@".to_owned()
                });
                acts.answered.load(Relaxed) > before
            })
            .collect()
    }

    #[test]
    fn an_activity_has_answers_of_its_own() {
        let documents = [
            "<a xmlns='urn:xmpp:sm:3' h='1'/>",
            "<iq type='result' id='ping'/>",
            "<iq type='error' id='ping'/>",
            "<presence from='u2@h/r'><status>1</status></presence>",
            "<presence from='u1@h/r'><status>1</status></presence>",
            "<presence from='u2@h/r' type='unavailable'/>",
        ];
        for (activity, which) in [
            (Activity::KeepAlive, None),
            (Activity::Acknowledgement, Some(0)),
            (Activity::Ping, Some(1)),
            (Activity::Presence, Some(3)),
        ] {
            let expected: Vec<_> = (0..documents.len()).map(|at| Some(at) == which).collect();
            assert_eq!(answers(activity, &documents), expected, "{activity:?}");
            assert_eq!(Activity::named(activity.name()), Some(activity));
        }
    }
}
