//! Which nodes have room for the surplus sessions of others, and for how many.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::{Mutex, MutexGuard};

use super::one::Node;

/// The rooms that the balancer has found, for sessions that look for one.
#[derive(Debug, Default)]
pub struct Rooms {
    free: Mutex<Vec<Room>>,
    asked: AtomicBool,
}

/// A node that should get more sessions.
#[derive(Debug)]
pub struct Room {
    /// The node.
    pub node: Arc<Node>,
    /// How many more.
    pub free: u64,
}

impl Rooms {
    /// The operator asks for sessions to move.
    pub fn ask(&self) {
        self.asked.store(true, Relaxed);
    }

    /// Whether the operator has asked for it since the last call.
    pub fn was_asked(&self) -> bool {
        self.asked.swap(false, Relaxed)
    }

    /// Takes one place at the node with the most room among those where `done` succeeds, and returns its result.
    pub fn take<T>(&self, mut done: impl FnMut(&Node) -> Option<T>) -> Option<T> {
        let mut rooms = self.free.lock();
        rooms.sort_by_key(|room| std::cmp::Reverse(room.free));
        for room in rooms.iter_mut().filter(|room| room.free > 0) {
            if let Some(done) = done(&room.node) {
                room.free -= 1;
                return Some(done);
            }
        }
        None
    }

    /// While this is held no session finds room, so that the balancer can compute the rooms anew.
    pub fn lock(&self) -> MutexGuard<'_, Vec<Room>> {
        self.free.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::node;
    use super::*;

    #[test]
    fn each_place_is_taken_once_and_those_with_most_room_come_first() {
        let rooms = Rooms::default();
        let room = |name, free| Room {
            node: node(name, 0),
            free,
        };
        *rooms.lock() = vec![room("a", 1), room("b", 3), room("c", 0)];
        let take = |except: &str| {
            rooms.take(|node| (node.name() != except).then(|| node.name().to_owned()))
        };
        // What can't be done in one is done in another one, and takes no place there.
        assert_eq!(take("b").as_deref(), Some("a"));
        assert_eq!(take("b"), None);
        for _ in 0..3 {
            assert_eq!(take("").as_deref(), Some("b"));
        }
        assert_eq!(take(""), None);
    }
}
