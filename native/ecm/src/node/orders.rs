//! What a node's trunks are to do, depending on its state.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::one::Node;
use super::roster::Roster;
use super::state::State;
use crate::trunk::{Kind, Order};

/// How often a node that is to become empty is checked.
const EMPTY_CHECK: Duration = Duration::from_millis(100);

/// Tells the pool what the node's state asks for, as long as the node has trunks.
pub async fn give_orders(
    node: &Node,
    roster: &Roster,
    state: &mut watch::Receiver<State>,
    finish: &mut watch::Receiver<bool>,
    order: &watch::Sender<Order>,
) {
    let mut maintenance = None;
    loop {
        let now = *state.borrow_and_update();
        let ends = *finish.borrow_and_update();
        if now == State::Maintenance {
            maintenance.get_or_insert_with(|| Maintenance::new(node));
        } else if maintenance.as_ref().is_some_and(Maintenance::can_be_left) {
            maintenance = None;
        }
        let next = match (&mut maintenance, now) {
            _ if ends => Order::Finish,
            (Some(maintenance), _) => maintenance.order(node, roster.rules().maintenance_timeout),
            // Its sessions stay, and it may be configured again.
            (None, State::Leaving) if node.is_empty() => Order::Finish,
            (None, _) => Order::Serve,
        };
        order.send_replace(next);
        let waits = maintenance.is_some() || now == State::Leaving;
        tokio::select! {
            Ok(()) = state.changed() => {}
            Ok(()) = finish.changed() => {}
            () = sleep(EMPTY_CHECK), if waits && next < Order::Close => {}
            else => std::future::pending().await,
        }
    }
}

/// A node in maintenance: its sessions leave, and then its trunks end.
#[derive(Debug)]
struct Maintenance {
    since: Instant,
    /// How many sessions it had at first.
    sessions: u64,
    order: Order,
}

impl Maintenance {
    fn new(node: &Node) -> Self {
        Self {
            since: Instant::now(),
            sessions: sessions(node),
            order: Order::Serve,
        }
    }

    /// Whether it can be undone, as its trunks have not been told to end.
    fn can_be_left(&self) -> bool {
        self.order == Order::Serve
    }

    fn order(&mut self, node: &Node, timeout: Duration) -> Order {
        let (left, name) = (sessions(node), node.name());
        let time = self.since.elapsed();
        if self.order < Order::Close && time >= timeout {
            self.order = Order::Close;
            if left > 0 {
                tracing::warn!(
                    sessions = self.sessions,
                    ended = left,
                    "node {name}: its trunks end after {time:.1?} of maintenance, with the sessions that could not move"
                );
            } else {
                tracing::info!(
                    "node {name}: its trunks end after {time:.1?} of maintenance, with their requests"
                );
            }
        } else if self.order == Order::Serve && left == 0 {
            self.order = Order::Finish;
            tracing::info!(
                sessions = self.sessions,
                "node {name}: its trunks end after {time:.1?} of maintenance, no session is left"
            );
        }
        self.order
    }
}

fn sessions(node: &Node) -> u64 {
    node.trunks().usage().count(Kind::Session)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::super::testing::{self, opening};
    use super::*;
    use crate::trunk::testing::Ejabberd;

    const TIMEOUT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn trunks_end_when_the_last_session_has_left() {
        let node = testing::node("a", 0);
        let _ejabberd = Ejabberd::add(node.trunks());
        let session = node.trunks().open(&opening());
        let mut maintenance = Maintenance::new(&node);
        assert_eq!(maintenance.order(&node, TIMEOUT), Order::Serve);
        assert!(maintenance.can_be_left());
        drop(session);
        assert_eq!(maintenance.order(&node, TIMEOUT), Order::Finish);
        assert!(!maintenance.can_be_left());
        // Requests that take long.
        advance(TIMEOUT).await;
        assert_eq!(maintenance.order(&node, TIMEOUT), Order::Close);
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_that_stay_end_with_the_trunks_when_the_time_is_over() {
        let node = testing::node("a", 0);
        let _ejabberd = Ejabberd::add(node.trunks());
        let _session = node.trunks().open(&opening());
        let mut maintenance = Maintenance::new(&node);
        advance(TIMEOUT - Duration::from_millis(1)).await;
        assert_eq!(maintenance.order(&node, TIMEOUT), Order::Serve);
        advance(Duration::from_millis(1)).await;
        assert_eq!(maintenance.order(&node, TIMEOUT), Order::Close);
        let mut at_once = Maintenance::new(&node);
        assert_eq!(at_once.order(&node, Duration::ZERO), Order::Close);
    }
}
