//! The command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use rustix::process::Pid;
use tokio::runtime::{Builder, Runtime};

use crate::check;
use crate::config::{Config, ConfigError, INSTALLED, Reading, SAMPLE};
use crate::control::client::{self, Ctl};
use crate::logging::Logging;
use crate::open_files;
use crate::panics;
use crate::server::{self, Exit, Started};

/// What the program has, for --version; -V gives the version alone.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\nclients: http, https, xmpp, xmpps; BOSH, WebSocket\n\
     trunks: v2 (yamux, PROXY protocol 2), v1\n\
     TLS: 1.3, 1.2 (rustls, ring)\n\
     systemd: notify, watchdog, socket activation"
);

/// The external connection manager of Megaphone: takes the clients' connections off ejabberd and carries them all to it
/// over a few trunks.
#[derive(Debug, Parser)]
#[command(version, long_version = VERSION)]
struct Arguments {
    /// The configuration file. Without it the defaults apply; `check` and `ctl` then use /etc/megaphone/ecm.toml.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The same as the command check.
    #[arg(long)]
    check_config: bool,
    /// Print a configuration file with every key, its default and what it means, and exit.
    #[arg(long, alias = "print-config")]
    print_defaults: bool,
    /// Take the place of a megaphone-ecm that runs: use its listening sockets, and once a trunk is up tell it (SIGUSR1)
    /// to let its clients go.
    #[arg(long, value_name = "PID", value_parser = process)]
    replaces: Option<Pid>,
    #[command(subcommand)]
    command: Option<Commands>,
}

#[derive(Debug, Subcommand)]
enum Commands {
    /// Check the configuration and the files that it names, and exit: 0 if the program can run with them, 1 if not.
    ///
    /// Prints everything that is wrong, with its line and key, and warns of what is legal and unwise.
    Check,
    /// Send a command to the running megaphone-ecm.
    Ctl(Ctl),
}

fn process(text: &str) -> Result<Pid, &'static str> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number
        .and_then(Pid::from_raw)
        .ok_or("write the number of a process")
}

/// Its arguments, for its manual page.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs the program with the arguments of its process.
pub fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    match arguments.command.take() {
        Some(Commands::Ctl(ctl)) => return client::run(ctl, arguments.config.as_deref()),
        Some(Commands::Check) => {
            return check::run(arguments.config.as_deref().unwrap_or(Path::new(INSTALLED)));
        }
        None => {}
    }
    if arguments.print_defaults {
        return match std::io::stdout().write_all(SAMPLE.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_nobody_reads) => ExitCode::FAILURE,
        };
    }
    if arguments.check_config {
        return match arguments.config.as_deref() {
            Some(file) => check::run(file),
            // The defaults are right.
            None => ExitCode::SUCCESS,
        };
    }
    let Some(file) = arguments.config.as_deref() else {
        return serve(Config::default(), &[], arguments);
    };
    let reading = match Reading::of(file) {
        Ok(reading) => reading,
        Err(error) => return refuse(&[error]),
    };
    if !reading.errors().is_empty() {
        return refuse(reading.errors());
    }
    let warnings = check::unwise(&reading);
    match reading.into_config() {
        Ok(config) => serve(config, &warnings, arguments),
        Err(error) => refuse(&[error]),
    }
}

fn refuse(errors: &[ConfigError]) -> ExitCode {
    for error in errors {
        eprintln!("megaphone-ecm: {error}");
    }
    ExitCode::FAILURE
}

fn serve(config: Config, warnings: &[ConfigError], arguments: Arguments) -> ExitCode {
    let logging = Logging::start(&config.log);
    panics::tell();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let started = Started {
        config_file: arguments.config,
        open_files: open_files::raise(),
        replaces: arguments.replaces,
    };
    let runtime = match runtime(config.thread_count()) {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("can't start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(server::run(config, started, logging));
    // Nothing is waited for any more: what was due is done, or has been given up.
    runtime.shutdown_background();
    match result {
        Ok(Exit::Orderly) => ExitCode::SUCCESS,
        Ok(Exit::AtOnce) => ExitCode::FAILURE,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// One thread is this one, which then wakes no other.
fn runtime(threads: usize) -> std::io::Result<Runtime> {
    let mut builder = match threads {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(threads).enable_all().build()
}
