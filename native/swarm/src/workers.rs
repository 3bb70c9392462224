//! Several processes, because one has only so many file descriptors.

use std::collections::BTreeMap;
use std::io;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::Notify;

use crate::activity::{Act, Acted};
use crate::control::Event;
use crate::random_traffic::{Arrivals, Ranges};
use crate::report::{End, Logins, Traffic};

/// The other processes.
pub struct Workers(Vec<Worker>);

/// What one of them is to do.
pub struct Share {
    /// The number of its first user.
    pub first: usize,
    /// All of its arguments.
    pub arguments: Vec<String>,
}

struct Worker {
    /// The number of its first user, and how many have begun.
    users: (usize, usize),
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Workers {
    /// Starts one process for each share.
    ///
    /// # Errors
    /// The system's.
    pub fn start(shares: impl IntoIterator<Item = Share>) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let start = |share: Share| {
            let mut child = tokio::process::Command::new(&program)
                .args(share.arguments)
                // One of many: more threads would only take memory.
                .env("TOKIO_WORKER_THREADS", "1")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                // Ctrl-C is for this process, which tells the others to end.
                .process_group(0)
                .kill_on_drop(true)
                .spawn()?;
            let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
                return Err(io::Error::other("a worker without pipes"));
            };
            Ok(Worker {
                users: (share.first, 0),
                child,
                input,
                output: BufReader::new(output).lines(),
            })
        };
        shares
            .into_iter()
            .map(start)
            .collect::<io::Result<_>>()
            .map(Self)
    }

    pub(crate) async fn log_in(
        &mut self,
        enough: &Notify,
        tell: &mut impl FnMut(&Event),
    ) -> io::Result<Logins> {
        let mut last: Vec<Option<Event>> = vec![None; self.0.len()];
        let mut done: Vec<Option<Logins>> = vec![None; self.0.len()];
        while done.iter().any(Option::is_none) {
            for index in 0..self.0.len() {
                if done[index].is_some() {
                    continue;
                }
                match self.next_of(index, enough).await? {
                    Event::Online(logins) => {
                        let users = usize::try_from(logins.users).unwrap_or(usize::MAX);
                        self.0[index].users.1 = users;
                        last[index] = Some(online(&logins));
                        done[index] = Some(logins);
                    }
                    event => last[index] = Some(event),
                }
            }
            tell(&sum(last.iter().flatten()));
        }
        Ok(Logins::merged(
            &done.into_iter().flatten().collect::<Vec<_>>(),
        ))
    }

    /// What one says next; if there are enough users meanwhile, all are told.
    async fn next_of(&mut self, index: usize, enough: &Notify) -> io::Result<Event> {
        loop {
            tokio::select! {
                // What a call that was dropped has read is given by the next one.
                event = self.0[index].next() => return event,
                () = enough.notified() => {}
            }
            self.tell("enough\n").await?;
        }
    }

    /// Each sends its share of messages to anybody's users.
    pub(crate) async fn send(&mut self, rate: f64, duration: Duration) -> io::Result<f64> {
        let receivers = Ranges::new(self.0.iter().map(|worker| worker.users));
        let share = rate / self.0.len() as f64;
        let command = format!("send {share} {} {receivers}\n", duration.as_secs_f64());
        let mut longest = 0.0_f64;
        for event in self.ask(&command).await? {
            match event {
                Event::Sent { seconds } => longest = longest.max(seconds),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(longest)
    }

    pub(crate) async fn take_arrivals(&mut self) -> io::Result<Arrivals> {
        let mut all = Vec::new();
        for event in self.ask("arrivals\n").await? {
            match event {
                Event::Arrivals(arrivals) => all.push(arrivals),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(Arrivals::merged(&all))
    }

    pub(crate) async fn exchange(
        &mut self,
        rate: f64,
        duration: Duration,
        stop: &Notify,
    ) -> io::Result<Traffic> {
        let share = rate / self.0.len() as f64;
        self.tell(&format!("traffic {share} {}\n", duration.as_secs_f64()))
            .await?;
        let mut all = Vec::new();
        let mut is_stopped = false;
        while let Some(worker) = self.0.get_mut(all.len()) {
            let event = tokio::select! {
                // What a call that was dropped has read is given by the next one.
                event = worker.next() => event?,
                () = stop.notified(), if !is_stopped => {
                    is_stopped = true;
                    self.tell("stop\n").await?;
                    continue;
                }
            };
            match event {
                Event::Traffic(traffic) => all.push(traffic),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(Traffic::merged(&all))
    }

    /// Each process has its share of the groups, by how many users it has.
    pub(crate) async fn act(&mut self, act: Act) -> io::Result<Acted> {
        let users: usize = self.0.iter().map(|worker| worker.users.1).sum();
        let groups = |worker: &Worker| act.groups * worker.users.1 / users.max(1);
        let all_groups: usize = self.0.iter().map(groups).sum();
        for worker in &mut self.0 {
            let groups = groups(worker);
            if groups == 0 {
                let why = format!("{} groups are too few for so many processes", act.groups);
                return Err(io::Error::other(why));
            }
            let command = format!(
                "act {} {} {} {groups} {}\n",
                act.activity.name(),
                act.rate * groups as f64 / all_groups as f64,
                act.duration.as_secs_f64(),
                act.size
            );
            worker.input.write_all(command.as_bytes()).await?;
        }
        let mut all = Vec::new();
        for event in self.answers().await? {
            match event {
                Event::Acted(acted) => all.push(acted),
                other => return Err(unexpected(&other)),
            }
        }
        Ok(Acted::merged(&all))
    }

    pub(crate) async fn status(&mut self) -> io::Result<Event> {
        Ok(sum(&self.ask("status\n").await?))
    }

    pub(crate) async fn end(mut self) -> io::Result<End> {
        let mut all = Vec::new();
        for event in self.ask("end\n").await? {
            match event {
                Event::End(end) => all.push(end),
                other => return Err(unexpected(&other)),
            }
        }
        for worker in &mut self.0 {
            worker.child.wait().await?;
        }
        Ok(End::merged(&all))
    }

    /// Tells all of them the same.
    async fn tell(&mut self, command: &str) -> io::Result<()> {
        for worker in &mut self.0 {
            worker.input.write_all(command.as_bytes()).await?;
        }
        Ok(())
    }

    /// Tells all of them the same, and waits for each one's answer.
    async fn ask(&mut self, command: &str) -> io::Result<Vec<Event>> {
        self.tell(command).await?;
        self.answers().await
    }

    /// What each says next.
    async fn answers(&mut self) -> io::Result<Vec<Event>> {
        let mut answers = Vec::new();
        for worker in &mut self.0 {
            answers.push(worker.next().await?);
        }
        Ok(answers)
    }
}

impl Worker {
    async fn next(&mut self) -> io::Result<Event> {
        let line = self.output.next_line().await?;
        let line =
            line.ok_or_else(|| io::Error::other("a worker has ended; what it said is above"))?;
        serde_json::from_str(&line).map_err(io::Error::other)
    }
}

/// What a process said of itself that is done.
fn online(logins: &Logins) -> Event {
    Event::Progress {
        online: logins.online,
        failed: logins.failed,
        broken: 0,
        sent: 0,
        received: 0,
        resumed: 0,
        errors: BTreeMap::new(),
    }
}

fn sum<'a>(events: impl IntoIterator<Item = &'a Event>) -> Event {
    let mut total = [0; 6];
    let mut errors = BTreeMap::<String, u64>::new();
    for event in events {
        if let Event::Progress {
            online,
            failed,
            broken,
            sent,
            received,
            resumed,
            errors: own,
        } = event
        {
            for (error, count) in own {
                *errors.entry(error.clone()).or_default() += count;
            }
            for (total, one) in total
                .iter_mut()
                .zip([online, failed, broken, sent, received, resumed])
            {
                *total += one;
            }
        }
    }
    let [online, failed, broken, sent, received, resumed] = total;
    Event::Progress {
        online,
        failed,
        broken,
        sent,
        received,
        resumed,
        errors,
    }
}

fn unexpected(event: &Event) -> io::Error {
    io::Error::other(format!(
        "a worker said what it was not asked for: {event:?}"
    ))
}
