//! The command line.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use rustix::process::Pid;
use tokio::runtime::{Builder, Runtime};

use crate::certificates;
use crate::config::{Config, ConfigError, NodeConfig, SAMPLE};
use crate::control::client::{self, Ctl};
use crate::fleet::Fleet;
use crate::logging::Logging;
use crate::open_files;
use crate::server::{self, Exit, ServerError, Started};
use crate::trunk::load_tls;

/// The external connection manager of Megaphone: takes the clients' connections off ejabberd and
/// carries them all to it over a trunk.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// The configuration file. Without it the defaults apply.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Check the configuration and exit: 0 if it is right, 1 if not.
    #[arg(long)]
    check_config: bool,
    /// Print a configuration file with every key, its default and what it means, and exit.
    #[arg(long)]
    print_config: bool,
    /// Take the place of a megaphone-ecm that runs: use its listening sockets, and once a trunk is up tell it (SIGUSR1)
    /// to let its clients go.
    #[arg(long, value_name = "PID", value_parser = process)]
    replaces: Option<Pid>,
    #[command(subcommand)]
    command: Option<Commands>,
}

#[derive(Debug, Subcommand)]
enum Commands {
    /// Say a command to the megaphone-ecm that runs.
    Ctl(Ctl),
}

fn process(text: &str) -> Result<Pid, &'static str> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number
        .and_then(Pid::from_raw)
        .ok_or("write the number of a process")
}

/// Runs the program with the arguments of its process.
pub fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if let Some(Commands::Ctl(ctl)) = arguments.command.take() {
        return client::run(ctl, arguments.config.as_deref());
    }
    if arguments.print_config {
        return match std::io::stdout().write_all(SAMPLE.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_nobody_reads) => ExitCode::FAILURE,
        };
    }
    let config = match read_config(&arguments) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("megaphone-ecm: {error}");
            return ExitCode::FAILURE;
        }
    };
    if arguments.check_config {
        return match check_files(&config) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("megaphone-ecm: {error}");
                ExitCode::FAILURE
            }
        };
    }
    serve(config, arguments)
}

fn read_config(arguments: &Arguments) -> Result<Config, ConfigError> {
    arguments
        .config
        .as_deref()
        .map_or_else(|| Ok(Config::default()), Config::read)
}

/// Reads the files that the configuration names.
fn check_files(config: &Config) -> Result<(), ServerError> {
    if let Some(tls) = load_tls(config.trunk.tls.as_ref())? {
        for host in config.all_nodes().iter().filter_map(NodeConfig::host) {
            tls.of_host(host)?;
        }
    }
    certificates::load(config, None)?;
    if let Some(fleet) = &config.fleet {
        Fleet::check(fleet)?;
    }
    Ok(())
}

fn serve(config: Config, arguments: Arguments) -> ExitCode {
    let logging = Logging::start(&config.log.level);
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
