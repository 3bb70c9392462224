//! The protocol on the socket: a command and its answer, each a line of JSON with the protocol's version.

use clap::Subcommand;
use serde::{Deserialize, Serialize};

/// The version of the protocol. New keys do not change it.
pub const VERSION: u32 = 1;

/// A line to the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`].
    pub version: u32,
    /// The command.
    #[serde(flatten)]
    pub command: Command,
}

/// A command, on the command line and on the socket. The texts here are the command line's help.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Subcommand)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Show the ejabberd nodes and how they are.
    Nodes,
    /// Give a node no new sessions, and move those that it has to other nodes.
    Drain {
        /// The node's name, as `nodes` shows it.
        node: String,
    },
    /// Let a node take sessions again.
    Ready {
        /// The node's name, as `nodes` shows it.
        node: String,
    },
    /// Move a node's sessions as drain does, then close its trunks; sessions that can't move end after
    /// maintenance_timeout.
    Maintenance {
        /// The node's name, as `nodes` shows it.
        node: String,
    },
    /// Move sessions from nodes that have more than their share to nodes that have fewer.
    Rebalance,
    /// Show how many sessions there are, by how their clients are connected.
    Sessions,
    /// Read the configuration again, as SIGHUP does.
    Reload,
    /// Let the clients go over close_spread and then end, as SIGUSR1 does; waits for that.
    Leave,
}

/// A line from the program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// [`VERSION`].
    pub version: u32,
    /// The answer.
    #[serde(flatten)]
    pub answer: Answer,
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The command failed, for this reason.
    Error(String),
    /// The command was done.
    Done(String),
    /// The nodes.
    Nodes(Vec<NodeLine>),
    /// The nodes and their shares.
    Shares(Vec<ShareLine>),
    /// The sessions, by how their clients are connected.
    Sessions(Vec<SessionLine>),
}

/// A node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeLine {
    /// Its name.
    pub name: String,
    /// Its state, which the operator sets.
    pub state: String,
    /// How it is.
    pub condition: String,
    /// Its trunks that take connections.
    pub trunks: usize,
    /// Its sessions.
    pub sessions: u64,
    /// Those of them that are to move to other trunks.
    #[serde(default)]
    pub leaving: u64,
    /// The most that it takes; none for any number.
    pub max_sessions: Option<u64>,
    /// Its HTTP connections.
    pub http_connections: u64,
    /// Its weight.
    pub weight: u64,
    /// The part of its weight that it has now, from 0 to 1.
    pub share: f64,
    /// The logins that wait for its answer.
    pub logins: usize,
    /// How many may wait; none for any number.
    pub login_limit: Option<usize>,
    /// How often it was ejected.
    pub ejections: u64,
}

/// A node beside its share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShareLine {
    /// Its name.
    pub name: String,
    /// Its sessions.
    pub sessions: u64,
    /// How many it would have by its weight.
    pub share: u64,
    /// How many it has beyond that.
    pub surplus: u64,
    /// Whether they move because of that: the node is ready, well, and its slow start is over.
    #[serde(default)]
    pub balanced: bool,
}

/// The sessions of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionLine {
    /// How their clients are connected.
    pub transport: String,
    /// How many there are.
    pub sessions: u64,
}

impl Request {
    /// This command, in this version.
    pub const fn new(command: Command) -> Self {
        Self {
            version: VERSION,
            command,
        }
    }
}

impl Response {
    /// This answer, in this version.
    pub const fn new(answer: Answer) -> Self {
        Self {
            version: VERSION,
            answer,
        }
    }

    /// A line.
    pub fn to_line(&self) -> String {
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_flat_object() {
        for (command, line) in [
            (Command::Nodes, r#"{"version":1,"command":"nodes"}"#),
            (
                Command::Drain {
                    node: "a".to_owned(),
                },
                r#"{"version":1,"command":"drain","node":"a"}"#,
            ),
            (Command::Reload, r#"{"version":1,"command":"reload"}"#),
        ] {
            let request = Request::new(command);
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
            assert_eq!(serde_json::from_str::<Request>(line).unwrap(), request);
        }
    }

    #[test]
    fn an_answer_names_what_it_is() {
        let response = Response::new(Answer::Error("why".to_owned()));
        let line = "{\"version\":1,\"error\":\"why\"}\n";
        assert_eq!(response.to_line(), line);
        assert_eq!(serde_json::from_str::<Response>(line).unwrap(), response);
    }
}
