//! The numbers of each ejabberd node.

use std::fmt;

use prometheus_client::encoding::EncodeGaugeValue;
use prometheus_client::metrics::MetricType;

use super::exposition::{Exposition, counter};

/// A node as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeNow {
    /// Its name.
    pub name: String,
    /// Its state, which the operator sets.
    pub state: &'static str,
    /// Whether new sessions may come to it.
    pub is_usable: bool,
    /// Whether it is ejected.
    pub is_ejected: bool,
    /// How often it was ejected.
    pub ejections: u64,
    /// Its trunks that take connections.
    pub trunks: u64,
    /// Its sessions.
    pub sessions: u64,
    /// Those of them that are to move to other trunks.
    pub leaving: u64,
    /// Its HTTP connections.
    pub requests: u64,
    /// The part of its weight that it has, from 0 to 1.
    pub share: f64,
    /// The logins that wait for its answer.
    pub logins_running: u64,
    /// How many may wait; none for any number.
    pub login_limit: Option<u64>,
}

impl Exposition<'_> {
    /// Writes the metrics of all nodes.
    pub(super) fn nodes(&mut self, nodes: &[NodeNow]) -> fmt::Result {
        self.node_gauges(
            "node_usable",
            "1 if new sessions may come to the node: it is ready, up and not ejected.",
            nodes,
            |node| Some(u64::from(node.is_usable)),
        )?;
        let mut states = self.head(
            "node_state",
            "1, with the node's state as the operator set it: ready, drain or maintenance; leaving if it is no \
             longer configured.",
            MetricType::Gauge,
        )?;
        for node in nodes {
            states
                .encode_family(&[("node", node.name.as_str()), ("state", node.state)])?
                .encode_gauge(&1_u64)?;
        }
        self.node_gauges(
            "node_trunks_up",
            "Trunks to the node that take new connections.",
            nodes,
            |node| Some(node.trunks),
        )?;
        self.node_gauges("node_sessions", "Sessions at the node.", nodes, |node| {
            Some(node.sessions)
        })?;
        self.node_gauges(
            "node_sessions_leaving",
            "Sessions at the node that are to move to other trunks.",
            nodes,
            |node| Some(node.leaving),
        )?;
        self.node_gauges(
            "node_http_connections",
            "HTTP connections to the node.",
            nodes,
            |node| Some(node.requests),
        )?;
        self.node_gauges(
            "node_share",
            "The part of its weight that the node has now; less than 1 during slow start.",
            nodes,
            |node| Some(node.share),
        )?;
        self.node_gauges(
            "node_logins_running",
            "Logins that wait for the node's answer.",
            nodes,
            |node| Some(node.logins_running),
        )?;
        self.node_gauges(
            "node_login_limit",
            "How many logins may wait for the node's answer at once, adapted to how fast it answers.",
            nodes,
            |node| node.login_limit,
        )?;
        self.node_gauges("node_ejected", "1 if the node is ejected.", nodes, |node| {
            Some(u64::from(node.is_ejected))
        })?;
        let help = "How often the node was ejected.";
        let mut ejections = self.head("node_ejections", help, MetricType::Counter)?;
        for node in nodes {
            let label = [("node", node.name.as_str())];
            counter(&mut ejections.encode_family(&label)?, node.ejections)?;
        }
        Ok(())
    }

    fn node_gauges<V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        nodes: &[NodeNow],
        value: impl Fn(&NodeNow) -> Option<V>,
    ) -> fmt::Result {
        let mut metric = self.head(name, help, MetricType::Gauge)?;
        for node in nodes {
            if let Some(value) = value(node) {
                metric
                    .encode_family(&[("node", node.name.as_str())])?
                    .encode_gauge(&value)?;
            }
        }
        Ok(())
    }
}
