//! Nodes without a socket, for tests.

use std::sync::Arc;
use std::time::Duration;

use super::one::{Node, Since};
use super::roster::{Roster, Rules};
use super::{Nodes, health};
use crate::config::Protocol;
use crate::ids::IdSource;
use crate::trunk::testing::Ejabberd;
use crate::trunk::{Binding, Content, Opening, Trunks};

pub fn rules() -> Rules {
    Rules {
        health: health::Rules {
            ping_timeout: Duration::from_secs(5),
            eject_after: 0,
            eject_min: Duration::from_secs(10),
            eject_max: Duration::from_secs(60),
        },
        panic_threshold: 50,
        slow_start: Duration::ZERO,
        login_timeout: Duration::from_secs(5),
        rebalance: true,
        maintenance_timeout: Duration::from_secs(60),
    }
}

/// A node without a trunk, which may have `at_once` logins at once.
pub fn node(name: &str, at_once: u64) -> Arc<Node> {
    let trunks = Trunks::new(Arc::new(IdSource::new().unwrap()));
    Arc::new(Node::new(
        name.to_owned(),
        1,
        0,
        at_once,
        trunks,
        Since::Start,
    ))
}

pub fn nodes(nodes: Vec<Arc<Node>>) -> Arc<Nodes> {
    let roster = Arc::new(Roster::new(nodes, rules()));
    Arc::new(Nodes::new(Protocol::V2, roster))
}

/// One node with one trunk that is up, and its other end.
pub fn start() -> (Arc<Nodes>, Ejabberd) {
    start_with(0)
}

/// The same, with `at_once` logins at once.
pub fn start_with(at_once: u64) -> (Arc<Nodes>, Ejabberd) {
    let node = node("a", at_once);
    let ejabberd = Ejabberd::add(node.trunks());
    (nodes(vec![node]), ejabberd)
}

/// The opening of a WebSocket client's session.
pub fn opening() -> Opening {
    Opening::new(
        "192.0.2.7:4711".parse().unwrap(),
        "192.0.2.1:80".parse().unwrap(),
        Content::XmppFraming(Binding::WebSocket),
        None,
    )
}

impl Nodes {
    /// One more trunk of the first node, and its other end.
    pub fn add_trunk(&self) -> Ejabberd {
        Ejabberd::add(self.all()[0].trunks())
    }
}
