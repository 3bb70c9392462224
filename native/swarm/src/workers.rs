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
use crate::report::{End, Logins, Traffic};

/// The other processes.
pub struct Workers(Vec<Worker>);

struct Worker {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Workers {
    /// Starts one process with each of these lists of arguments.
    ///
    /// # Errors
    /// The system's.
    pub fn start(arguments: impl IntoIterator<Item = Vec<String>>) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        let start = |arguments: Vec<String>| {
            let mut child = tokio::process::Command::new(&program)
                .args(arguments)
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
                child,
                input,
                output: BufReader::new(output).lines(),
            })
        };
        arguments
            .into_iter()
            .map(start)
            .collect::<io::Result<_>>()
            .map(Self)
    }

    pub(crate) async fn log_in(&mut self, tell: &mut impl FnMut(&Event)) -> io::Result<Logins> {
        let mut last: Vec<Option<Event>> = vec![None; self.0.len()];
        let mut done: Vec<Option<Logins>> = vec![None; self.0.len()];
        while done.iter().any(Option::is_none) {
            for (worker, (last, done)) in self.0.iter_mut().zip(last.iter_mut().zip(&mut done)) {
                if done.is_some() {
                    continue;
                }
                match worker.next().await? {
                    Event::Online(logins) => *done = Some(logins),
                    event => *last = Some(event),
                }
            }
            tell(&sum(last.iter().flatten()));
        }
        Ok(Logins::merged(
            &done.into_iter().flatten().collect::<Vec<_>>(),
        ))
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

    /// Each process has its share of the groups.
    pub(crate) async fn act(&mut self, act: Act) -> io::Result<Acted> {
        let processes = self.0.len();
        if !act.groups.is_multiple_of(processes) {
            return Err(io::Error::other(format!(
                "{} groups are not shared by {processes} processes",
                act.groups
            )));
        }
        let command = format!(
            "act {} {} {} {} {}\n",
            act.activity.name(),
            act.rate / processes as f64,
            act.duration.as_secs_f64(),
            act.groups / processes,
            act.size
        );
        let mut all = Vec::new();
        for event in self.ask(&command).await? {
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
