//! Which connection an id on the trunk means, and which ids ended a moment ago.

use std::collections::VecDeque;

use megaphone_trunk::v1::ConnectionId;

use crate::handle::Handle;
use crate::id_table::{IdTable, Name};
use crate::slab::TOGETHER;

/// After our close, frames for an id are dropped this long (seconds), or until the peer's close.
pub(crate) const LINGER: u32 = 30;

#[derive(Default)]
pub(crate) struct Names {
    names: IdTable,
    ended: VecDeque<(u32, ConnectionId)>,
}

impl Names {
    pub(crate) fn get(&self, id: &ConnectionId) -> Option<Name> {
        self.names.get(id)
    }

    /// The open connections among up to [`TOGETHER`] ids.
    pub(crate) fn live(&self, ids: impl Iterator<Item = ConnectionId>) -> Vec<Handle> {
        let mut names = Vec::with_capacity(TOGETHER);
        self.names.get_all(ids, &mut names);
        let live = names.into_iter().filter_map(|name| match name {
            Name::Live(handle) => Some(handle),
            Name::Ended { .. } => None,
        });
        live.collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn insert(&mut self, id: ConnectionId, handle: Handle) {
        self.names.insert(id, Name::Live(handle));
    }

    /// The peer closed the id: it may be used again.
    pub(crate) fn forget(&mut self, id: &ConnectionId) {
        self.names.remove(id);
    }

    /// We closed the id at `now` (seconds).
    pub(crate) fn end(&mut self, id: ConnectionId, now: u32) {
        let until = now.saturating_add(LINGER);
        self.names.insert(id, Name::Ended { until });
        self.ended.push_back((until, id));
    }

    /// Forgets the ids whose time has passed at `now` (seconds).
    pub(crate) fn expire(&mut self, now: u32) {
        while let Some((until, id)) = self.ended.front().copied() {
            if until > now {
                return;
            }
            self.ended.pop_front();
            // The id may have been closed by the peer and opened anew since.
            if self.names.get(&id) == Some(Name::Ended { until }) {
                self.names.remove(&id);
            }
        }
        self.ended = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ConnectionId {
        ConnectionId::try_from([b'a' + n; 20]).unwrap()
    }

    #[test]
    fn an_ended_id_is_known_until_its_time_has_passed() {
        let mut names = Names::default();
        names.end(id(0), 100);
        names.expire(100 + LINGER - 1);
        assert_eq!(
            names.get(&id(0)),
            Some(Name::Ended {
                until: 100 + LINGER
            })
        );
        names.expire(100 + LINGER);
        assert_eq!(names.get(&id(0)), None);
    }

    #[test]
    fn an_id_that_was_opened_anew_outlives_its_old_end() {
        let mut names = Names::default();
        names.end(id(0), 0);
        names.forget(&id(0));
        names.insert(id(0), Handle::from_raw(7));
        names.expire(LINGER);
        assert_eq!(names.get(&id(0)), Some(Name::Live(Handle::from_raw(7))));
    }
}
