//! All users of one process.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, Notify, Semaphore};
use tokio::time::{Instant, sleep, sleep_until};

use crate::activity::Acts;
use crate::channel::{ChannelError, Route, Trunk, TrunkChannel};
use crate::ledger::Ledger;
use crate::random_traffic::{Letter, RandomTraffic, Ranges};
use crate::stanza::{self, Note};

/// How far the pace may fall behind and catch up: a timer is late by a millisecond or so.
const SLACK: Duration = Duration::from_millis(50);

/// How a client reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// An XML stream over TCP (RFC 6120).
    Tcp,
    /// WebSocket (RFC 7395).
    #[value(name = "websocket")]
    WebSocket,
    /// BOSH (XEP-0206).
    Bosh,
    /// Sessions in trunks of version 2, straight to ejabberd's megaphone_listener.
    Trunk,
}

impl Transport {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::WebSocket => "websocket",
            Self::Bosh => "bosh",
            Self::Trunk => "trunk",
        }
    }
}

/// Who the users are and what they do.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How they connect.
    pub transport: Transport,
    /// How many.
    pub users: usize,
    /// The number of the first.
    pub first: usize,
    /// Their names without the number.
    pub prefix: Arc<str>,
    /// Everybody's password.
    pub password: Arc<str>,
    /// Their server.
    pub domain: Arc<str>,
    /// Their resource.
    pub resource: Arc<str>,
    /// Logins started a second; 0 starts all at once.
    pub login_rate: f64,
    /// The most logins at work at once.
    pub logins_at_once: usize,
    /// How long a login may take.
    pub login_timeout: Duration,
    /// Whether a user whose connection was lost, or whose login failed, tries again.
    pub reconnect: bool,
    /// How long it waits before that.
    pub reconnect_after: Duration,
    /// Whether stanzas are counted, and streams that were lost resumed (XEP-0198).
    pub stream_management: bool,
    /// How many trunks there are.
    pub trunks: usize,
}

/// All users of one process.
pub struct Swarm {
    pub settings: Settings,
    pub route: Route,
    pub ledger: Ledger,
    pub acts: Acts,
    pub random_traffic: RandomTraffic,
    pub members: Box<[Member]>,
    pub trunks: Trunks,
    gate: Semaphore,
    pace: Pace,
    random: parking_lot::Mutex<Random>,
    /// How many users have begun, and whether no more are to.
    begun: AtomicUsize,
    enough: AtomicBool,
    ending: AtomicBool,
}

/// What others tell a user.
#[derive(Debug, Default)]
pub struct Member {
    /// Whether it can be told to send.
    pub online: AtomicBool,
    /// How many messages it was told to send and has not.
    pub to_send: AtomicU32,
    /// How often it was told to do what [`Acts`] says and has not.
    pub to_act: AtomicU32,
    /// There is something for it to do.
    pub wake: Notify,
}

impl Swarm {
    /// Users who have not begun.
    pub fn new(settings: Settings, route: Route) -> Self {
        Self {
            ledger: Ledger::new(settings.users),
            acts: Acts::default(),
            random_traffic: RandomTraffic::default(),
            members: (0..settings.users).map(|_| Member::default()).collect(),
            trunks: Trunks::new(settings.trunks),
            gate: Semaphore::new(settings.logins_at_once.min(Semaphore::MAX_PERMITS)),
            pace: Pace::new(settings.login_rate),
            random: parking_lot::Mutex::new(Random(0x9e37_79b9_7f4a_7c15 ^ settings.first as u64)),
            begun: AtomicUsize::new(0),
            enough: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            settings,
            route,
        }
    }

    /// Starts the life of each user, and returns once the last one has begun; they log in at the pace of the settings.
    pub async fn start(self: &Arc<Self>, begin: impl Fn(Arc<Self>, usize)) {
        for index in 0..self.settings.users {
            if index % 64 == 0 {
                // Those at work go first.
                tokio::task::yield_now().await;
            }
            self.pace().await;
            // Who only waits for a turn takes the room of a login.
            let turn = self.gate.acquire().await;
            if turn.is_err() || self.is_ending() || self.enough.load(Relaxed) {
                return;
            }
            drop(turn);
            self.begun.fetch_add(1, Relaxed);
            begin(Arc::clone(self), index);
        }
    }

    /// Users who have not begun don't.
    pub fn be_enough(&self) {
        self.enough.store(true, Relaxed);
    }

    /// How many users have begun.
    pub fn begun(&self) -> usize {
        self.begun.load(Relaxed)
    }

    /// Waits until the next login may start.
    pub async fn pace(&self) {
        self.pace.wait_for_next().await;
    }

    /// Runs a login once there is room for one more; `None` if the swarm ends before.
    pub async fn turn<T>(&self, login: impl Future<Output = T> + Send) -> Option<T> {
        let _permit = self.gate.acquire().await.ok()?;
        if self.is_ending() {
            return None;
        }
        Some(login.await)
    }

    /// Tells users, picked at random, to send so many messages a second for so long, to anybody of `receivers`; without
    /// these to their partners, and then only those whose partner is online.
    pub async fn send_messages(&self, rate: f64, duration: Duration, receivers: Ranges) {
        let to_partner = receivers.len() == 0;
        self.random_traffic.begin(receivers);
        let started = Instant::now();
        let mut told = 0.0;
        while started.elapsed() < duration && !self.is_ending() {
            let due = started.elapsed().as_secs_f64() * rate;
            // As many attempts as it takes, unless hardly anybody is online.
            let mut attempts = 0;
            while told < due && attempts < 10_000 {
                attempts += 1;
                let index = self.random.lock().below(self.members.len());
                if self.tell_to_send(index, to_partner) {
                    told += 1.0;
                }
            }
            told = told.max(due);
            sleep(Duration::from_millis(2)).await;
        }
    }

    fn tell_to_send(&self, index: usize, to_partner: bool) -> bool {
        let member = &self.members[index];
        let is_online = |index: usize| self.members[index].online.load(Relaxed);
        let can = is_online(index) && (!to_partner || is_online(self.partner(index)));
        if can {
            member.to_send.fetch_add(1, Relaxed);
            member.wake.notify_one();
        }
        can
    }

    /// The next message of a user, which counts as sent.
    pub fn next_message(&self, index: usize) -> String {
        let random = |users| self.random.lock().below(users);
        if let Some(letter) = self.random_traffic.next(self.settings.first, random) {
            self.ledger.sent_at_random();
            return letter.message(&self.address(letter.to));
        }
        let note = self.ledger.next_note(index);
        let partner = self.settings.first + self.partner(index);
        stanza::message(&self.address(partner), note)
    }

    /// A message with that body came to a user.
    pub fn got_message(&self, index: usize, body: &str, is_error: bool) {
        if let Some(letter) = Letter::of(body) {
            if is_error {
                self.random_traffic.came_back();
            } else if self
                .random_traffic
                .arrived(self.settings.first + index, letter)
            {
                self.ledger.arrived_at_random();
            }
        } else if let Some(note) = Note::of(body) {
            if is_error {
                self.ledger.came_back(index, note);
            } else {
                self.ledger.arrived(self.partner(index), note);
            }
        }
    }

    /// Makes everybody leave, and waits until they have.
    pub async fn end(&self, within: Duration) {
        self.ending.store(true, Relaxed);
        self.gate.close();
        for member in &self.members {
            member.wake.notify_one();
        }
        let deadline = Instant::now() + within;
        while self.ledger.counts().online > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether everybody is to leave.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Relaxed)
    }

    /// With whom a user exchanges messages; the last of an odd number with itself.
    pub fn partner(&self, index: usize) -> usize {
        let other = index ^ 1;
        if other < self.members.len() {
            other
        } else {
            index
        }
    }

    /// A user's name, the part of its address before the `@`.
    pub fn name(&self, index: usize) -> String {
        format!("{}{}", self.settings.prefix, self.settings.first + index)
    }

    /// The address of the user with that number among all.
    fn address(&self, number: usize) -> String {
        format!("{}{number}@{}", self.settings.prefix, self.settings.domain)
    }
}

/// Starts logins evenly in time.
#[derive(Debug)]
struct Pace {
    interval: Duration,
    next: parking_lot::Mutex<Option<Instant>>,
}

impl Pace {
    fn new(rate: f64) -> Self {
        Self {
            interval: if rate > 0.0 {
                Duration::from_secs_f64(1.0 / rate)
            } else {
                Duration::ZERO
            },
            next: parking_lot::Mutex::default(),
        }
    }

    async fn wait_for_next(&self) {
        if self.interval.is_zero() {
            return;
        }
        let now = Instant::now();
        let at = {
            let mut next = self.next.lock();
            let at = next.map_or(now, |next| next.max(now - SLACK));
            *next = Some(at + self.interval);
            at
        };
        if at > now {
            sleep_until(at).await;
        }
    }
}

/// The trunks of the users who come that way, dialled as they are needed.
pub struct Trunks(Box<[Mutex<Option<Arc<Trunk>>>]>);

impl Trunks {
    fn new(count: usize) -> Self {
        Self((0..count.max(1)).map(|_| Mutex::default()).collect())
    }

    /// A session of a user in its trunk, which is dialled if it is not there.
    ///
    /// # Errors
    /// [`ChannelError`]
    pub async fn open(&self, route: &Route, index: usize) -> Result<TrunkChannel, ChannelError> {
        let mut place = self.0[index % self.0.len()].lock().await;
        // An address of its own for each user, as the documentation range's neighbours have.
        let client = SocketAddr::from((
            [10, (index >> 16) as u8, (index >> 8) as u8, index as u8],
            5222,
        ));
        if let Some(trunk) = &*place
            && let Ok(channel) = trunk.open(client)
        {
            return Ok(channel);
        }
        let trunk = Trunk::dial(route).await?;
        let channel = trunk.open(client);
        *place = Some(trunk);
        channel
    }
}

/// Numbers that are the same in each run.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * limit as u128) >> 64) as usize
    }
}
