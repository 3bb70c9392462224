//! The command line.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::channel::{Dialler, Route, Security, Target, trusting_all};
use crate::console;
use crate::control::Event;
use crate::crew::Crew;
use crate::report::Report;
use crate::swarm::{Settings, Swarm, Transport};
use crate::workers::{Share, Workers};

/// Many light XMPP clients: they log in, stay online, send messages to each other, and every message is
/// counted.
///
/// The users have to exist: user0, user1 ... with one password. Each exchanges messages with one other:
/// 0 with 1, 2 with 3 ... The exit status is 0 if everybody was online to the end and every message
/// arrived once.
#[derive(Debug, Clone, Parser)]
#[command(name = "megaphone-swarm", version)]
struct Arguments {
    /// How the clients connect.
    #[arg(long, value_enum, default_value = "websocket")]
    transport: Transport,

    /// Where to: HOST:PORT, or unix:/PATH for trunks. Of several, connections go to each in turn, and to the next one
    /// if one refuses.
    #[arg(long, value_name = "ADDRESS", required = true)]
    connect: Vec<Target>,

    /// The path of BOSH and WebSocket requests [default: /bosh, /ws].
    #[arg(long)]
    path: Option<String>,

    /// TLS from the first byte. No certificate is checked.
    #[arg(long)]
    tls: bool,

    /// TLS by STARTTLS, with the transport tcp. No certificate is checked.
    #[arg(long, conflicts_with = "tls")]
    starttls: bool,

    /// The users' server.
    #[arg(long, default_value = "localhost")]
    domain: String,

    /// How many users.
    #[arg(long, short = 'n', default_value_t = 100)]
    users: usize,

    /// The number of the first user.
    #[arg(long, default_value_t = 0)]
    first: usize,

    /// The users' names without the number.
    #[arg(long, default_value = "user")]
    prefix: String,

    /// The users' password.
    #[arg(long, default_value = "megaphone")]
    password: String,

    /// The resource that each binds.
    #[arg(long, default_value = "swarm")]
    resource: String,

    /// Logins started a second; 0 starts all at once.
    #[arg(long, default_value_t = 0.0)]
    login_rate: f64,

    /// The most logins at work at once.
    #[arg(long, default_value_t = 1_000_000)]
    logins_at_once: usize,

    /// Seconds that one login may take.
    #[arg(long, default_value_t = 60)]
    login_timeout: u64,

    /// Users whose login failed or whose connection was lost log in again, at the pace of --login-rate.
    #[arg(long)]
    reconnect: bool,

    /// Seconds that a user waits before it logs in again.
    #[arg(long, default_value_t = 0.0)]
    reconnect_after: f64,

    /// Stream management (XEP-0198): stanzas are counted, and with --reconnect a stream that was lost is resumed.
    #[arg(long)]
    stream_management: bool,

    /// Seconds that everybody is idle before messages are sent, and after.
    #[arg(long, default_value_t = 0.0)]
    idle: f64,

    /// Messages a second, over all users.
    #[arg(long, default_value_t = 0.0)]
    messages: f64,

    /// Seconds that messages are sent.
    #[arg(long, default_value_t = 10.0)]
    duration: f64,

    /// How many trunks the users share, with the transport trunk.
    #[arg(long, default_value_t = 4)]
    trunks: usize,

    /// Local addresses that the connections come from, in turn: one has some 28,000 ports.
    #[arg(long, value_name = "IP")]
    from: Vec<IpAddr>,

    /// Processes that share the users, where one has too few file descriptors.
    #[arg(long, default_value_t = 1)]
    processes: usize,

    /// Reads commands from the standard input, a line each: `enough`, after which no more users log in, `traffic RATE
    /// SECONDS`, `stop`, which ends the traffic early, `random RATE SECONDS` for messages from any user to any other,
    /// `act ACTIVITY RATE SECONDS GROUPS SIZE`, `status`, `end`. Says what happens on the standard output, a line of JSON each.
    #[arg(long)]
    control: bool,

    /// Writes the report into a file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let result = runtime.block_on(run(&arguments));
    // Users who did not get out are not waited for.
    runtime.shutdown_background();
    match result {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

fn fail(error: &io::Error) -> ExitCode {
    eprintln!("megaphone-swarm: {error}");
    ExitCode::from(2)
}

async fn run(arguments: &Arguments) -> io::Result<ExitCode> {
    let mut crew = match arguments.processes {
        0 | 1 => Crew::Here(Arc::new(Swarm::new(
            arguments.settings(),
            arguments.route()?,
        ))),
        _ => Crew::Workers(Workers::start(arguments.shares())?),
    };
    if arguments.control {
        return console::run(crew).await;
    }
    let mut interrupt = Box::pin(tokio::signal::ctrl_c());
    let mut report = Report {
        transport: arguments.transport.name(),
        tls: arguments.tls || arguments.starttls,
        users: arguments.users,
        logins: crate::report::Logins::default(),
        traffic: Vec::new(),
        end: crate::report::End::default(),
    };
    let interrupted = tokio::select! {
        done = work(arguments, &mut crew, &mut report) => { done?; false }
        _ = &mut interrupt => true,
    };
    report.end = crew.end().await?;
    print!("{report}");
    if let Some(path) = &arguments.json {
        let json = serde_json::to_vec_pretty(&report).map_err(io::Error::other)?;
        fs::write(path, json)
            .map_err(|error| io::Error::other(format!("{}: {error}", path.display())))?;
    }
    Ok(match (interrupted, report.is_clean()) {
        (true, _) => ExitCode::from(130),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    })
}

/// Logs in, is idle, sends, is idle.
async fn work(arguments: &Arguments, crew: &mut Crew, report: &mut Report) -> io::Result<()> {
    let bar = progress_bar(arguments.users);
    report.logins = crew
        .log_in(&Notify::new(), |event| {
            if let Event::Progress { online, failed, .. } = event {
                bar.set_position(*online);
                bar.set_message(match failed {
                    0 => String::new(),
                    failed => format!("{failed} failed"),
                });
            }
        })
        .await?;
    bar.finish_and_clear();
    let idle = Duration::from_secs_f64(arguments.idle.max(0.0));
    sleep(idle).await;
    if arguments.messages > 0.0 {
        let duration = Duration::from_secs_f64(arguments.duration.max(0.0));
        let traffic = crew
            .exchange(arguments.messages, duration, &Notify::new())
            .await?;
        report.traffic.push(traffic);
        sleep(idle).await;
    }
    Ok(())
}

fn progress_bar(users: usize) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(users as u64), target);
    let style = "{bar:40} {human_pos} of {human_len} online, {per_sec}, {elapsed} {msg}";
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

impl Arguments {
    fn settings(&self) -> Settings {
        Settings {
            transport: self.transport,
            users: self.users,
            first: self.first,
            prefix: self.prefix.as_str().into(),
            password: self.password.as_str().into(),
            domain: self.domain.as_str().into(),
            resource: self.resource.as_str().into(),
            login_rate: self.login_rate,
            logins_at_once: self.logins_at_once,
            login_timeout: Duration::from_secs(self.login_timeout),
            reconnect: self.reconnect,
            reconnect_after: Duration::from_secs_f64(self.reconnect_after.max(0.0)),
            stream_management: self.stream_management,
            trunks: self.trunks,
        }
    }

    fn route(&self) -> io::Result<Route> {
        let tls = || trusting_all().map_err(io::Error::other);
        let security = if self.tls {
            Security::Tls(tls()?)
        } else if self.starttls {
            Security::StartTls(tls()?)
        } else {
            Security::Plain
        };
        let default = match self.transport {
            Transport::Bosh => "/bosh",
            _ => "/ws",
        };
        Ok(Route {
            dialler: Arc::new(Dialler::new(self.connect.clone(), self.from.clone())),
            path: self.path.as_deref().unwrap_or(default).into(),
            security,
        })
    }

    /// What each process does; partners stay together. Each has addresses of its own, if there are enough, and begins
    /// with another target.
    fn shares(&self) -> Vec<Share> {
        let pairs = self.users.div_ceil(2);
        (0..self.processes)
            .map(|process| {
                let bound = |number: usize| (pairs * number / self.processes * 2).min(self.users);
                let (start, end) = (bound(process), bound(process + 1));
                let mut share = self.clone();
                share.users = end - start;
                share.first = self.first + start;
                share.login_rate /= self.processes as f64;
                share.logins_at_once = self.logins_at_once.div_ceil(self.processes);
                share.connect.rotate_left(process % self.connect.len());
                if !self.from.is_empty() {
                    let each = (self.from.len() / self.processes).max(1);
                    let own = (0..each).map(|one| (process * each + one) % self.from.len());
                    share.from = own.map(|one| self.from[one]).collect();
                }
                Share {
                    first: share.first,
                    arguments: share.to_arguments(),
                }
            })
            .collect()
    }

    fn to_arguments(&self) -> Vec<String> {
        let mut all = vec!["--control".to_owned()];
        let mut option = |name: &str, value: String| all.push(format!("--{name}={value}"));
        option("transport", self.transport.name().to_owned());
        option("domain", self.domain.clone());
        option("users", self.users.to_string());
        option("first", self.first.to_string());
        option("prefix", self.prefix.clone());
        option("password", self.password.clone());
        option("resource", self.resource.clone());
        option("login-rate", self.login_rate.to_string());
        option("logins-at-once", self.logins_at_once.to_string());
        option("login-timeout", self.login_timeout.to_string());
        option("trunks", self.trunks.to_string());
        option("reconnect-after", self.reconnect_after.to_string());
        self.connect
            .iter()
            .for_each(|target| option("connect", target.to_string()));
        self.path
            .iter()
            .for_each(|path| option("path", path.clone()));
        self.from
            .iter()
            .for_each(|ip| option("from", ip.to_string()));
        let switches = [
            (self.tls, "--tls"),
            (self.starttls, "--starttls"),
            (self.reconnect, "--reconnect"),
            (self.stream_management, "--stream-management"),
        ];
        let on = switches.iter().filter(|(on, _)| *on);
        all.extend(on.map(|(_, name)| (*name).to_owned()));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_share_the_users_and_keep_partners_together() {
        let arguments = Arguments::parse_from([
            "megaphone-swarm",
            "--connect=127.0.0.1:1",
            "--connect=127.0.0.1:2",
            "--from=127.0.0.10",
            "--from=127.0.0.11",
            "--from=127.0.0.12",
            "--from=127.0.0.13",
            "--from=127.0.0.14",
            "--from=127.0.0.15",
            "--users=11",
            "--first=100",
            "--processes=3",
            "--login-rate=300",
            "--reconnect",
        ]);
        let mut next = 100;
        let mut from = Vec::new();
        for (process, share) in arguments.shares().into_iter().enumerate() {
            assert_eq!(share.first, next);
            let program = std::iter::once("megaphone-swarm".to_owned());
            let share = Arguments::parse_from(program.chain(share.arguments));
            assert_eq!((share.first, share.first % 2), (next, 0));
            assert_eq!(share.connect[0], arguments.connect[process % 2]);
            assert_eq!(share.from.len(), 2);
            from.extend(share.from);
            assert!(share.control && share.reconnect && share.processes == 1);
            assert!((share.login_rate - 100.0).abs() < 1e-9);
            next += share.users;
        }
        assert_eq!((next, from), (111, arguments.from));
    }
}
