//! Which processes a trunk has to hear of when they die.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use crate::handle::Handle;

/// The processes that own or wait on connections, each with those connections. A process is
/// monitored once, by the caller, when it comes in, and stays until it dies.
pub(crate) struct Watch<P> {
    processes: HashMap<P, Connections>,
}

/// One connection a process is the rule.
enum Connections {
    None,
    One(Handle),
    #[allow(clippy::box_collection)] // The rule pays for the exception: 16 bytes instead of 56.
    Many(Box<HashSet<Handle>>),
}

/// Whether a process was known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Known {
    Already,
    New,
}

impl<P: Copy + Eq + Hash> Watch<P> {
    pub(crate) fn new() -> Self {
        Self {
            processes: HashMap::new(),
        }
    }

    /// Ties a connection to a process; a new one has to be monitored.
    pub(crate) fn add(&mut self, process: P, handle: Handle) -> Known {
        let mut known = Known::Already;
        let connections = self.processes.entry(process).or_insert_with(|| {
            known = Known::New;
            Connections::None
        });
        match connections {
            Connections::None => *connections = Connections::One(handle),
            Connections::One(one) if *one == handle => {}
            Connections::One(one) => {
                *connections = Connections::Many(Box::new(HashSet::from([*one, handle])));
            }
            Connections::Many(many) => {
                many.insert(handle);
            }
        }
        known
    }

    /// Ties a connection to a process, if that is monitored already.
    pub(crate) fn add_known(&mut self, process: P, handle: Handle) {
        if self.processes.contains_key(&process) {
            self.add(process, handle);
        }
    }

    /// Unties a connection. The process stays known: its monitor does too.
    pub(crate) fn remove(&mut self, process: P, handle: Handle) {
        match self.processes.get_mut(&process) {
            Some(connections @ Connections::One(_)) => {
                if matches!(connections, Connections::One(one) if *one == handle) {
                    *connections = Connections::None;
                }
            }
            Some(Connections::Many(many)) => {
                many.remove(&handle);
                if many.capacity() > 64 && many.len() < many.capacity() / 4 {
                    many.shrink_to_fit();
                }
            }
            Some(Connections::None) | None => {}
        }
    }

    /// How many connections are tied to processes.
    #[cfg(test)]
    pub(crate) fn ties(&self) -> usize {
        let ties = |connections: &Connections| match connections {
            Connections::None => 0,
            Connections::One(_) => 1,
            Connections::Many(many) => many.len(),
        };
        self.processes.values().map(ties).sum()
    }

    /// The process died: what it was tied to.
    pub(crate) fn take(&mut self, process: P) -> Vec<Handle> {
        match self.processes.remove(&process) {
            Some(Connections::One(one)) => vec![one],
            Some(Connections::Many(many)) => many.into_iter().collect(),
            Some(Connections::None) | None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_new_once_and_gives_back_what_it_is_tied_to() {
        let [a, b, c] = [1, 2, 3].map(Handle::from_raw);
        let mut watch = Watch::new();
        assert_eq!(watch.add("p", a), Known::New);
        assert_eq!(watch.add("p", b), Known::Already);
        assert_eq!(watch.add("p", c), Known::Already);
        watch.remove("p", b);
        watch.remove("q", b);
        let mut tied = watch.take("p");
        tied.sort();
        assert_eq!(tied, [a, c]);
        assert!(watch.take("p").is_empty());
        assert_eq!(watch.add("p", a), Known::New);
    }

    #[test]
    fn a_process_without_connections_stays_known() {
        let a = Handle::from_raw(1);
        let mut watch = Watch::new();
        watch.add("p", a);
        watch.remove("p", a);
        assert_eq!(watch.add("p", a), Known::Already);
        assert_eq!(watch.take("p"), [a]);
    }
}
