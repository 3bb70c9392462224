//! File descriptors: how many there are, and how many clients they are enough for.
//!
//! Each client takes one. Some are kept back from the clients, so that however many come, trunks are dialled,
//! monitoring is answered, and files are read.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::Config;
use crate::monitor;

/// The standard ones, the runtime's and the signals', files that a reload reads, a look-up of a name.
const OWN: u64 = 16;

/// A socket that is listened on, and the descriptor that is [kept](crate::front::accept) for it.
const EACH_LISTENER: u64 = 2;

/// One that is up, and those before it that end with the last of their connections.
const EACH_TRUNK: u64 = 4;

/// The most refused clients at once whose connections are closed gently.
const MOST_REFUSED: u64 = 256;

/// How many sockets of clients there may be at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Of those that are served.
    pub clients: u64,
    /// Of those that are told that there is no room.
    pub refused: u64,
}

/// Raises the limit of open files as far as this process may: shells start programs with 1,024 though far
/// more are allowed. The limit; `None` if there is none.
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // If it can't be raised, it is as it is.
    let _ = setrlimit(Resource::Nofile, raised);
    getrlimit(Resource::Nofile).current
}

impl Room {
    /// What a limit of open files leaves for the clients of a program.
    pub fn of(limit: Option<u64>, config: &Config) -> Self {
        let Some(limit) = limit else {
            return Self {
                clients: u64::MAX,
                refused: MOST_REFUSED,
            };
        };
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let watchers = match config.metrics.address {
            Some(_) => EACH_LISTENER + count(monitor::AT_ONCE),
            None => 0,
        };
        let listeners = EACH_LISTENER.saturating_mul(count(config.listeners.len()));
        let trunks = EACH_TRUNK.saturating_mul(count(config.trunk_count()));
        let reserve = [OWN, watchers, listeners, trunks]
            .into_iter()
            .fold(0, u64::saturating_add);
        let left = limit.saturating_sub(reserve);
        let refused = (left / 8).clamp(1, MOST_REFUSED);
        Self {
            // With less than that nothing would work at all, and the system says so soon enough.
            clients: left.saturating_sub(refused).max(1),
            refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_the_program_does_not_need_itself() {
        let mut config = Config::default();
        config.trunk.trunks = 4;
        let clients = |limit, config: &Config| Room::of(Some(limit), config).clients;
        // 16 + 2 + 16 are the program's own.
        assert_eq!(clients(1_048_576, &config), 1_048_576 - 34 - 256);
        assert_eq!(clients(1_024, &config), 990 - 990 / 8);
        assert_eq!(clients(64, &config), 30 - 30 / 8);
        assert_eq!(clients(30, &config), 1);
        assert_eq!(Room::of(None, &config).clients, u64::MAX);
        let before = clients(1_024, &config);
        config.metrics.address = Some(config.listeners[0].address);
        assert!(clients(1_024, &config) < before);
    }
}
