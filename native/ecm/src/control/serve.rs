//! Carries out commands, and answers them.

use std::sync::Arc;
use std::time::Duration;

use megaphone_trunk::proxy::Transport;
use rustix::process::{Signal, getpid, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::listen::Listener;
use super::protocol::{
    Answer, Command, NodeLine, Request, Response, SessionLine, ShareLine, VERSION,
};
use crate::metrics::SESSIONS;
use crate::node::{Nodes, Share, State, StateError, Status};

/// The longest command.
const MAX_LINE: u64 = 16 * 1024;
/// How long a command may take to arrive.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// How long to wait after a connection could not be accepted.
const PAUSE: Duration = Duration::from_secs(1);

/// Where the result of a reload goes.
pub type Reload = oneshot::Sender<Result<Reloaded, String>>;

/// What a reload changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// The keys that need a restart.
    pub needs_restart: Vec<&'static str>,
}

/// Serves commands.
#[derive(Debug, Clone)]
pub struct Serve {
    /// The nodes.
    pub nodes: Arc<Nodes>,
    /// Takes requests to reload.
    pub reloads: mpsc::Sender<Reload>,
}

impl Serve {
    /// Serves all clients, as long as the program runs.
    pub async fn run(&self, listener: &Listener) {
        loop {
            match listener.next().await {
                Ok(stream) => {
                    let serve = self.clone();
                    tokio::spawn(async move { serve.client(stream).await });
                }
                Err(error) => {
                    tracing::warn!("a command can't be accepted: {error}");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Serves one client, which may send several commands, one after the other.
    async fn client(&self, stream: UnixStream) {
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        loop {
            let mut line = String::new();
            let mut limited = (&mut reader).take(MAX_LINE);
            match timeout(TIME_LIMIT, limited.read_line(&mut line)).await {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) | Err(_) => return,
            }
            let answer = match parse(&line) {
                Ok(command) => self.answer(command).await,
                Err(error) => Answer::Error(error),
            };
            let response = Response::new(answer).to_line();
            if writer.write_all(response.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    async fn answer(&self, command: Command) -> Answer {
        match command {
            Command::Nodes => Answer::Nodes(self.nodes.status().iter().map(node_line).collect()),
            Command::Drain { node } => self.set(&node, State::Drain),
            Command::Ready { node } => self.set(&node, State::Ready),
            Command::Maintenance { node } => self.set(&node, State::Maintenance),
            Command::Rebalance => self.rebalance(),
            Command::Sessions => Answer::Sessions(sessions()),
            Command::Reload => self.reload().await,
            Command::Leave => leave(),
        }
    }

    fn set(&self, node: &str, state: State) -> Answer {
        match self.nodes.set_state(node, state) {
            Ok(sessions) => {
                tracing::info!(
                    "node {node} is now in the state {}, by command",
                    state.name()
                );
                let timeout = self.nodes.maintenance_timeout();
                Answer::Done(match state {
                    State::Ready => format!("node {node} is ready"),
                    State::Maintenance if timeout.is_zero() || sessions == 0 => {
                        format!("node {node} is in maintenance; its {sessions} sessions end")
                    }
                    State::Maintenance => format!(
                        "node {node} is in maintenance; its {sessions} sessions move to other nodes, and then its \
                         trunks end; sessions that are left in {timeout:?} end with them"
                    ),
                    State::Drain | State::Leaving => {
                        format!("node {node} gets no new sessions; it has {sessions}")
                    }
                })
            }
            Err(error) => Answer::Error(no_state(&error)),
        }
    }

    fn rebalance(&self) -> Answer {
        self.nodes.rebalance();
        Answer::Shares(self.nodes.shares().into_iter().map(share_line).collect())
    }

    async fn reload(&self) -> Answer {
        let (sender, result) = oneshot::channel();
        if self.reloads.send(sender).await.is_err() {
            return Answer::Error("the program is ending".to_owned());
        }
        match result.await {
            Ok(Ok(Reloaded { needs_restart })) if needs_restart.is_empty() => {
                Answer::Done("the configuration is reloaded".to_owned())
            }
            Ok(Ok(Reloaded { needs_restart })) => Answer::Done(format!(
                "the configuration is reloaded; changed, but in effect only after a restart: {}",
                needs_restart.join(", ")
            )),
            Ok(Err(error)) => Answer::Error(format!("the configuration is not reloaded: {error}")),
            Err(_) => Answer::Error("the program is ending".to_owned()),
        }
    }
}

fn leave() -> Answer {
    match kill_process(getpid(), Signal::USR1) {
        Ok(()) => Answer::Done(
            "the clients are let go over close_spread, and then the program ends".to_owned(),
        ),
        Err(error) => Answer::Error(format!("the program can't signal itself: {error}")),
    }
}

fn parse(line: &str) -> Result<Command, String> {
    // The version comes first: the rest of a line of another version means nothing here.
    let value: serde_json::Value = serde_json::from_str(line)
        .map_err(|error| format!("this is not a line of JSON: {error}"))?;
    let version = value.get("version").and_then(serde_json::Value::as_u64);
    if version != Some(VERSION.into()) {
        return Err(format!(
            "this program speaks version {VERSION} of the commands; use the megaphone-ecm ctl of the same release"
        ));
    }
    let request: Request =
        serde_json::from_value(value).map_err(|error| format!("this is not a command: {error}"))?;
    Ok(request.command)
}

fn no_state(error: &StateError) -> String {
    match error {
        StateError::Unknown(names) if names.is_empty() => {
            "there is no such node; there is none at all".to_owned()
        }
        StateError::Unknown(names) => {
            format!("there is no such node; there are: {}", names.join(", "))
        }
        StateError::Leaving => {
            "this node is no longer configured, and ends once it has no session".to_owned()
        }
    }
}

fn node_line(status: &Status) -> NodeLine {
    NodeLine {
        name: status.name.clone(),
        state: status.state.name().to_owned(),
        condition: status.condition.name().to_owned(),
        trunks: status.trunks,
        sessions: status.sessions,
        leaving: status.leaving,
        max_sessions: Some(status.max_sessions).filter(|most| *most > 0),
        http_connections: status.requests,
        weight: status.weight,
        share: status.share,
        logins: status.logins,
        login_limit: Some(status.login_limit).filter(|limit| *limit < usize::MAX),
        ejections: status.ejections,
    }
}

fn share_line(share: Share) -> ShareLine {
    let Share {
        status,
        share,
        is_balanced,
    } = share;
    ShareLine {
        surplus: status.sessions.saturating_sub(share),
        sessions: status.sessions,
        name: status.name,
        share,
        balanced: is_balanced,
    }
}

fn sessions() -> Vec<SessionLine> {
    let line = |(transport, sessions): (Transport, u64)| SessionLine {
        transport: transport.name().to_owned(),
        sessions,
    };
    SESSIONS.values().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_command_is_refused_with_a_reason() {
        for (line, reason) in [
            ("nodes", "this is not a line of JSON"),
            ("{\"command\":\"nodes\"}", "speaks version 1"),
            ("{\"version\":2,\"command\":\"nodes\"}", "speaks version 1"),
            (
                "{\"version\":1,\"command\":\"explode\"}",
                "this is not a command",
            ),
            (
                "{\"version\":1,\"command\":\"drain\"}",
                "this is not a command",
            ),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
