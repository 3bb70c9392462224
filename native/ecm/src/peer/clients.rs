//! How many clients there are, and what each one holds as long as it is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::config::ListenerKind;
use crate::metrics::{CLIENTS, CLIENTS_ACCEPTED};
use crate::peer::addresses::Connected;

/// Counts the clients that are connected.
#[derive(Debug)]
pub struct Clients {
    count: AtomicU64,
    /// How many of other ECMs have a request here.
    guests: AtomicU64,
    /// How many clients there is room for at all.
    room: u64,
    left: Notify,
}

/// One client's place among them. Dropping it frees it.
#[derive(Debug)]
pub struct Place {
    clients: Arc<Clients>,
    kind: Kind,
    counted: Option<ListenerKind>,
    /// Its place among the connections of its address; few programs limit these.
    connected: Option<Box<Connected>>,
}

/// Whose place it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Client,
    /// One of another ECM, which has a place there.
    Guest,
}

impl Clients {
    /// No clients yet, and room for this many.
    pub fn new(room: u64) -> Self {
        Self {
            count: AtomicU64::new(0),
            guests: AtomicU64::new(0),
            room,
            left: Notify::new(),
        }
    }

    /// A place, if there are fewer than `max` clients, and room for one more.
    pub fn place(self: &Arc<Self>, max: u64) -> Option<Place> {
        let max = max.min(self.room);
        let one_more = |count| (count < max).then_some(count + 1);
        self.count
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
            .ok()?;
        Some(Place {
            clients: Arc::clone(self),
            kind: Kind::Client,
            counted: None,
            connected: None,
        })
    }

    /// A place that takes none from others.
    pub fn guest(self: &Arc<Self>) -> Place {
        self.guests.fetch_add(1, Ordering::AcqRel);
        Place {
            clients: Arc::clone(self),
            kind: Kind::Guest,
            counted: None,
            connected: None,
        }
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until there are none, nor guests.
    pub async fn all_left(&self) {
        loop {
            let left = self.left.notified();
            if self.count() == 0 && self.guests.load(Ordering::Acquire) == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Place {
    /// Counts it among the clients of such listeners.
    #[must_use]
    pub fn counted(mut self, kind: ListenerKind) -> Self {
        CLIENTS.of(kind).add(1);
        CLIENTS_ACCEPTED.of(kind).add(1);
        self.counted = Some(kind);
        self
    }

    /// Holds its place among those of its address as well.
    pub fn hold(&mut self, connected: Option<Connected>) {
        self.connected = connected.map(Box::new);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(kind) = self.counted {
            CLIENTS.of(kind).subtract_one();
        }
        let those = match self.kind {
            Kind::Client => &self.clients.count,
            Kind::Guest => &self.clients.guests,
        };
        if those.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.clients.left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_limited_and_come_back() {
        let clients = Arc::new(Clients::new(3));
        let one = clients.place(2);
        let two = clients.place(2);
        assert!(one.is_some() && two.is_some() && clients.place(2).is_none());
        let last = clients.place(4);
        assert!(last.is_some() && clients.place(4).is_none());
        drop(last);
        drop(one);
        let three = clients.place(2);
        assert_eq!(clients.count(), 2);
        tokio::join!(clients.all_left(), async {
            drop(two);
            drop(three);
        });
        assert_eq!(clients.count(), 0);
    }
}
