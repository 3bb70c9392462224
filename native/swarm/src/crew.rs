//! Those who do the work: the users of this process, or several processes with users of their own.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::activity::{Act, Acted, Acts};
use crate::control::Event;
use crate::ledger::Counts;
use crate::messages::{Fault, Faulty};
use crate::random_traffic::{Arrivals, Random, Ranges};
use crate::report::{End, Logins, OfLostSessions, Times, Traffic, rate};
use crate::swarm::Swarm;
use crate::user;
use crate::workers::Workers;

/// How often the counters are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How long no message may arrive any more before the missing ones count as lost.
const LATE: Duration = Duration::from_secs(10);

/// How long everybody may take to leave.
const LEAVE: Duration = Duration::from_secs(30);

/// All users of a run.
pub enum Crew {
    /// In this process.
    Here(Arc<Swarm>),
    /// In others.
    Workers(Workers),
}

impl Crew {
    /// Makes all users log in; `tell` hears how far it is. It returns when each has succeeded or
    /// failed, or, if they try again, when all are online. Once there are `enough`, no more begin.
    ///
    /// # Errors
    /// If a worker is lost.
    pub async fn log_in(
        &mut self,
        enough: &Notify,
        mut tell: impl FnMut(&Event),
    ) -> io::Result<Logins> {
        match self {
            Self::Here(swarm) => Ok(log_in(swarm, enough, &mut tell).await),
            Self::Workers(workers) => workers.log_in(enough, &mut tell).await,
        }
    }

    /// Sends messages for so long, or until it is told to stop, and waits for the last to arrive.
    ///
    /// # Errors
    /// If a worker is lost.
    pub async fn exchange(
        &mut self,
        rate: f64,
        duration: Duration,
        stop: &Notify,
    ) -> io::Result<Traffic> {
        match self {
            Self::Here(swarm) => Ok(exchange(swarm, rate, duration, stop).await),
            Self::Workers(workers) => workers.exchange(rate, duration, stop).await,
        }
    }

    /// Has users do something that is no message, and waits for the answers.
    ///
    /// # Errors
    /// If there are not so many users, or a worker is lost.
    pub async fn act(&mut self, act: Act) -> io::Result<Acted> {
        match self {
            Self::Here(swarm) if act.groups.saturating_mul(act.size) > swarm.begun() => {
                Err(io::Error::other("there are not so many users"))
            }
            Self::Here(swarm) => Ok(Acts::act(swarm, act).await),
            Self::Workers(workers) => workers.act(act).await,
        }
    }

    /// Sends messages from any user to any other for so long, and waits for the last to arrive.
    ///
    /// # Errors
    /// If a worker is lost.
    pub async fn exchange_at_random(
        &mut self,
        rate: f64,
        duration: Duration,
    ) -> io::Result<Random> {
        let before = self.counts().await?;
        self.take_arrivals().await?;
        let seconds = match self {
            Self::Here(swarm) => {
                let receivers = Ranges::new([(swarm.settings.first, swarm.begun())]);
                send(swarm, rate, duration, receivers).await
            }
            Self::Workers(workers) => workers.send(rate, duration).await?,
        };
        let deadline = Instant::now() + LATE;
        let now = loop {
            let now = self.counts().await?;
            if now.received == now.sent || Instant::now() >= deadline {
                break now;
            }
            sleep(LOOK).await;
        };
        let (sent, received) = (now.sent - before.sent, now.received - before.received);
        Ok(Random {
            seconds,
            sent,
            received,
            lost: sent.saturating_sub(received),
            arrivals: self.take_arrivals().await?,
        })
    }

    /// Sends messages to any of these users, and does not wait for them; says for how many seconds it did.
    ///
    /// # Errors
    /// If the users are in several processes, which know themselves whom they have.
    pub async fn send(&self, rate: f64, duration: Duration, receivers: Ranges) -> io::Result<f64> {
        match self {
            Self::Here(swarm) => Ok(send(swarm, rate, duration, receivers).await),
            Self::Workers(_) => Err(io::Error::other("several processes are told: random")),
        }
    }

    /// How messages to users picked at random arrived, since this was asked last.
    ///
    /// # Errors
    /// If a worker is lost.
    pub async fn take_arrivals(&mut self) -> io::Result<Arrivals> {
        match self {
            Self::Here(swarm) => Ok(swarm.random_traffic.take_arrivals()),
            Self::Workers(workers) => workers.take_arrivals().await,
        }
    }

    /// The counters now.
    ///
    /// # Errors
    /// If a worker is lost.
    pub async fn status(&mut self) -> io::Result<Event> {
        match self {
            Self::Here(swarm) => Ok(progress(swarm)),
            Self::Workers(workers) => workers.status().await,
        }
    }

    async fn counts(&mut self) -> io::Result<Counts> {
        match self.status().await? {
            Event::Progress { sent, received, .. } => Ok(Counts {
                sent,
                received,
                ..Counts::default()
            }),
            other => Err(io::Error::other(format!("no status: {other:?}"))),
        }
    }

    /// Makes everybody leave.
    ///
    /// # Errors
    /// If a worker is lost.
    pub async fn end(self) -> io::Result<End> {
        match self {
            Self::Here(swarm) => Ok(end(&swarm).await),
            Self::Workers(workers) => workers.end().await,
        }
    }
}

async fn send(swarm: &Swarm, rate: f64, duration: Duration, receivers: Ranges) -> f64 {
    let started = Instant::now();
    swarm.send_messages(rate, duration, receivers).await;
    started.elapsed().as_secs_f64()
}

async fn log_in(swarm: &Arc<Swarm>, enough: &Notify, tell: &mut impl FnMut(&Event)) -> Logins {
    let started = Instant::now();
    let starting = tokio::spawn({
        let swarm = Arc::clone(swarm);
        async move { swarm.start(user::begin).await }
    });
    let mut timeline = Vec::new();
    let mut last_second = started;
    loop {
        let counts = swarm.ledger.counts();
        let ended = if swarm.settings.reconnect {
            counts.online
        } else {
            counts.logins + counts.failed_logins
        };
        let users = swarm.begun() as u64;
        let is_done = starting.is_finished() && ended >= users || swarm.is_ending();
        if is_done || last_second.elapsed() >= Duration::from_secs(1) {
            last_second += Duration::from_secs(1);
            timeline.push(counts.online);
            tell(&progress(swarm));
        }
        if is_done {
            starting.abort();
            let seconds = started.elapsed().as_secs_f64();
            return Logins {
                users,
                online: counts.online,
                failed: counts.failed_logins,
                seconds,
                per_second: rate(counts.logins, seconds),
                took: Times::of(&swarm.ledger.login_times()),
                timeline,
            };
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = enough.notified() => swarm.be_enough(),
        }
    }
}

async fn exchange(swarm: &Arc<Swarm>, rate: f64, duration: Duration, stop: &Notify) -> Traffic {
    let before = swarm.ledger.counts();
    swarm.ledger.take_latencies();
    let started = Instant::now();
    tokio::select! {
        () = swarm.send_messages(rate, duration, Ranges::default()) => {}
        () = stop.notified() => {}
    }
    let seconds = started.elapsed().as_secs_f64();
    let mut arrived = Instant::now();
    let mut received = 0;
    let now = loop {
        let now = swarm.ledger.counts();
        if now.received > received {
            (received, arrived) = (now.received, Instant::now());
        }
        // What an earlier exchange has lost is not waited for again.
        if now.received - before.received >= now.sent - before.sent || arrived.elapsed() >= LATE {
            break now;
        }
        sleep(LOOK / 10).await;
    };
    let outcome = swarm.ledger.take_outcome(|user| swarm.partner(user));
    Traffic {
        rate,
        seconds,
        sent: now.sent - before.sent,
        received: now.received - before.received,
        lost: outcome.all.lost,
        doubled: outcome.all.doubled,
        reordered: outcome.all.reordered,
        of_lost_sessions: OfLostSessions {
            lost: outcome.apart.lost,
            returned: outcome.returned,
            doubled: outcome.apart.doubled,
            reordered: outcome.apart.reordered,
        },
        named: outcome
            .named
            .iter()
            .map(|faulty| named(swarm, faulty))
            .collect(),
        latency: Times::of(&swarm.ledger.take_latencies()),
    }
}

fn named(swarm: &Swarm, faulty: &Faulty) -> String {
    let fault = match faulty.fault {
        Fault::Lost if faulty.is_returned => "came back as an error",
        Fault::Lost => "lost",
        Fault::Doubled => "doubled",
        Fault::Reordered => "out of order",
    };
    let seconds = |micros: u64| micros as f64 / 1e6;
    let user = |index: usize| match swarm.ledger.last_break(index) {
        None => swarm.name(index),
        Some(it) => format!(
            "{} (away from {:.3} to {:.3} s, {})",
            swarm.name(index),
            seconds(it.from),
            seconds(it.until),
            if it.is_resumed { "resumed" } else { "anew" }
        ),
    };
    format!(
        "{} of {} to {}, sent at {:.3} s: {fault}",
        faulty.number,
        user(faulty.from),
        user(swarm.partner(faulty.from)),
        seconds(faulty.sent_at),
    )
}

async fn end(swarm: &Arc<Swarm>) -> End {
    let broken = swarm.ledger.counts().broken;
    swarm.end(LEAVE).await;
    End {
        broken,
        resumed: swarm.ledger.counts().resumed,
        stuck: swarm.ledger.counts().online,
        errors: swarm.ledger.errors(),
    }
}

fn progress(swarm: &Swarm) -> Event {
    let counts = swarm.ledger.counts();
    Event::Progress {
        online: counts.online,
        failed: counts.failed_logins,
        broken: counts.broken,
        sent: counts.sent,
        received: counts.received,
        resumed: counts.resumed,
        errors: swarm.ledger.errors(),
    }
}
