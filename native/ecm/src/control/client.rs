//! `megaphone-ecm ctl`: sends a command to the running program and prints its answer.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use super::protocol::{Answer, Command, Request, Response, VERSION};
use super::table;
use crate::config::{Config, ConfigError, INSTALLED};

/// How long the program may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often to look whether the program has ended.
const LOOK: Duration = Duration::from_millis(200);

/// A command, and where to send it.
#[derive(Debug, Args)]
pub struct Ctl {
    /// The running program's socket; by default the [control] socket in --config, or in /etc/megaphone/ecm.toml.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Print the answer as one line of JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
enum CtlError {
    #[error(
        "no socket is known; give --socket PATH, or a --config FILE with [control] socket: {0}"
    )]
    NoConfig(#[source] ConfigError),
    #[error("{} has no [control] socket; add one and restart the program, or give --socket PATH", .0.display())]
    NoSocket(PathBuf),
    #[error("can't connect to {}: {source}; is megaphone-ecm running, as this user and with this [control] socket?", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("no answer from {}: {source}", path.display())]
    NoAnswer { path: PathBuf, source: io::Error },
    #[error("the answer from {} is not one of version {VERSION} of the commands: {source}", path.display())]
    Unknown {
        path: PathBuf,
        source: serde_json::Error,
    },
}

/// Runs a command. `config` is the file that --config names.
pub fn run(ctl: Ctl, config: Option<&Path>) -> ExitCode {
    let said = socket(&ctl, config).and_then(|path| Ok((say(&path, &ctl.command)?, path)));
    match said {
        Ok((response, path)) => {
            let status = print(&response, ctl.json);
            if ctl.command == Command::Leave && matches!(response.answer, Answer::Done(_)) {
                await_end(&path);
            }
            status
        }
        Err(error) => {
            eprintln!("megaphone-ecm ctl: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits until no program takes commands there any more.
fn await_end(path: &Path) {
    while UnixStream::connect(path).is_ok() {
        std::thread::sleep(LOOK);
    }
}

fn print(response: &Response, json: bool) -> ExitCode {
    let text = if json {
        response.to_line()
    } else {
        table::text(&response.answer)
    };
    let is_error = matches!(response.answer, Answer::Error(_));
    if is_error && !json {
        eprint!("megaphone-ecm ctl: {text}");
    } else if io::stdout().write_all(text.as_bytes()).is_err() {
        // Nobody reads it.
        return ExitCode::FAILURE;
    }
    if is_error {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn socket(ctl: &Ctl, config: Option<&Path>) -> Result<PathBuf, CtlError> {
    match &ctl.socket {
        Some(path) => Ok(path.clone()),
        None => configured(config.unwrap_or(Path::new(INSTALLED))),
    }
}

fn say(path: &Path, command: &Command) -> Result<Response, CtlError> {
    let path = || path.to_owned();
    let stream = UnixStream::connect(path()).map_err(|source| CtlError::Connect {
        path: path(),
        source,
    })?;
    let line = exchange(stream, command.clone()).map_err(|source| CtlError::NoAnswer {
        path: path(),
        source,
    })?;
    serde_json::from_str(&line).map_err(|source| CtlError::Unknown {
        path: path(),
        source,
    })
}

fn configured(file: &Path) -> Result<PathBuf, CtlError> {
    let config = Config::read(file).map_err(CtlError::NoConfig)?;
    let socket = config.control.socket;
    socket.ok_or_else(|| CtlError::NoSocket(file.to_owned()))
}

fn exchange(stream: UnixStream, command: Command) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_string(&Request::new(command))?;
    line.push('\n');
    (&stream).write_all(line.as_bytes())?;
    let mut answer = String::new();
    BufReader::new(&stream).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::other("the connection was closed"));
    }
    Ok(answer)
}
