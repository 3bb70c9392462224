//! The nodes and their shares, for the operator.

use super::balance::{self, Member};
use super::status::{Condition, Status};

/// A node, and how many sessions it should have.
#[derive(Debug, Clone, PartialEq)]
pub struct Share {
    /// How it is.
    pub status: Status,
    /// How many sessions it should have by its weight; none if it takes none.
    pub share: u64,
    /// Whether it takes part in rebalancing.
    pub is_balanced: bool,
}

/// The shares of these nodes in all of their sessions.
pub fn of(nodes: Vec<Status>) -> Vec<Share> {
    let (usable, others): (Vec<&Status>, Vec<_>) = nodes.iter().partition(|node| node.is_usable());
    let members: Vec<_> = usable
        .iter()
        .map(|node| Member {
            sessions: node.sessions,
            weight: node.weight,
            most: node.max_sessions,
        })
        .collect();
    let of_others = others.iter().map(|node| node.sessions).sum();
    let mut shares = balance::parts(&members, of_others).into_iter();
    let shares: Vec<u64> = nodes
        .iter()
        .map(|node| {
            if node.is_usable() {
                shares.next().map_or(0, |part| part.share)
            } else {
                0
            }
        })
        .collect();
    nodes
        .into_iter()
        .zip(shares)
        .map(|(status, share)| Share {
            is_balanced: status.is_usable() && status.condition != Condition::Starting,
            share,
            status,
        })
        .collect()
}
