//! What comes from each source address: connections at once, connections and logins per second. It reads no clock.
//!
//! The addresses of an IPv6 network of 64 bits count as one, as one client can use them all. An address is forgotten
//! once it has no connection and its rates have recovered.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::config::LimitsConfig;
use crate::metrics::Reason;

/// How many tables there are, so that threads seldom wait for one another.
const TABLES: usize = 16;

/// What may come at once, in seconds of a rate.
const BURST_SECONDS: u64 = 10;

/// A table with more addresses than this is searched for those that can be forgotten.
const SMALL: usize = 64;

/// The source addresses that something is remembered of.
#[derive(Debug)]
pub struct Addresses {
    tables: [Mutex<Table>; TABLES],
    hasher: RandomState,
}

/// A connection's place among those of its address. Dropping it frees it.
#[derive(Debug)]
pub struct Connected {
    addresses: Arc<Addresses>,
    source: Source,
}

/// An address has too much of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// Connections at once.
    #[error("there are too many connections from this address; close some")]
    Connections,
    /// Connections a second.
    #[error("connections from this address come too fast; try again in a while")]
    ConnectionRate,
    /// Logins a second.
    #[error("logins from this address come too fast; try again in a while")]
    LoginRate,
}

/// Where something comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    V4(u32),
    /// The first 64 bits.
    V6(u64),
}

#[derive(Debug, Default)]
struct Table {
    known: HashMap<Source, Known>,
    /// With how many addresses it was searched for those that can be forgotten, and some more.
    search_at: usize,
}

/// What is remembered of an address.
#[derive(Debug, Default)]
struct Known {
    connections: u64,
    connecting: Rate,
    logins: Rate,
}

/// How much of a rate was used: until when it has recovered. A token bucket that says when it is full.
#[derive(Debug, Default)]
struct Rate(Option<Instant>);

impl TooMany {
    /// As it is counted.
    pub const fn reason(self) -> Reason {
        match self {
            Self::Connections => Reason::AddressConnections,
            Self::ConnectionRate => Reason::AddressConnectionRate,
            Self::LoginRate => Reason::AddressLoginRate,
        }
    }
}

impl Default for Addresses {
    fn default() -> Self {
        Self {
            tables: Default::default(),
            hasher: RandomState::new(),
        }
    }
}

impl Addresses {
    /// Takes a place for a connection; none is needed if there is no limit.
    ///
    /// # Errors
    /// [`TooMany`] if the address has too many, or they come too fast.
    pub fn connect(
        self: &Arc<Self>,
        address: IpAddr,
        limits: &LimitsConfig,
        now: Instant,
    ) -> Result<Option<Connected>, TooMany> {
        let most = limits.max_connections_per_address;
        let rate = limits.connections_per_second_per_address;
        if most == 0 && rate == 0 {
            return Ok(None);
        }
        let source = Source::of(address);
        let mut table = self.table(source);
        let known = table.known(source, now);
        if most != 0 && known.connections >= most {
            return Err(TooMany::Connections);
        }
        if !known.connecting.take(rate, now) {
            return Err(TooMany::ConnectionRate);
        }
        known.connections += 1;
        drop(table);
        Ok(Some(Connected {
            addresses: Arc::clone(self),
            source,
        }))
    }

    /// Counts the beginning of a login.
    ///
    /// # Errors
    /// [`TooMany`] if they come too fast.
    pub fn login(
        &self,
        address: IpAddr,
        limits: &LimitsConfig,
        now: Instant,
    ) -> Result<(), TooMany> {
        let rate = limits.logins_per_second_per_address;
        if rate == 0 {
            return Ok(());
        }
        let source = Source::of(address);
        if self.table(source).known(source, now).logins.take(rate, now) {
            Ok(())
        } else {
            Err(TooMany::LoginRate)
        }
    }

    /// A login that began goes on as another one: it counts once.
    pub fn forget_login(&self, address: IpAddr, limits: &LimitsConfig) {
        let source = Source::of(address);
        if let Some(known) = self.table(source).known.get_mut(&source) {
            known.logins.give_back(limits.logins_per_second_per_address);
        }
    }

    /// How many addresses are remembered.
    pub fn count(&self) -> usize {
        let tables = self.tables.iter();
        tables.map(|table| table.lock().known.len()).sum()
    }

    fn table(&self, source: Source) -> MutexGuard<'_, Table> {
        let hash = self.hasher.hash_one(source);
        let at = usize::try_from(hash % TABLES as u64).unwrap_or(0);
        self.tables[at].lock()
    }

    fn disconnect(&self, source: Source, now: Instant) {
        let mut table = self.table(source);
        if let Some(known) = table.known.get_mut(&source) {
            known.connections = known.connections.saturating_sub(1);
            if known.can_be_forgotten(now) {
                table.known.remove(&source);
            }
        }
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.addresses.disconnect(self.source, Instant::now());
    }
}

impl Source {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
        }
    }
}

impl Table {
    fn known(&mut self, source: Source, now: Instant) -> &mut Known {
        if self.known.len() >= self.search_at.max(SMALL) && !self.known.contains_key(&source) {
            self.known.retain(|_, known| !known.can_be_forgotten(now));
            self.known.shrink_to(2 * self.known.len());
            // So that the search costs each newcomer no more than a step or two.
            self.search_at = 2 * self.known.len();
        }
        self.known.entry(source).or_default()
    }
}

impl Known {
    fn can_be_forgotten(&self, now: Instant) -> bool {
        self.connections == 0 && self.connecting.is_full(now) && self.logins.is_full(now)
    }
}

impl Rate {
    /// Takes one, if one is left at this rate per second; 0 for any number.
    fn take(&mut self, per_second: u64, now: Instant) -> bool {
        let Some(each) = interval(per_second) else {
            return true;
        };
        let burst = Duration::from_secs(BURST_SECONDS).saturating_sub(each);
        let full_at = self.0.map_or(now, |at| at.max(now));
        if full_at.duration_since(now) > burst {
            return false;
        }
        self.0 = Some(full_at + each);
        true
    }

    /// Gives one back that was taken.
    fn give_back(&mut self, per_second: u64) {
        if let (Some(at), Some(each)) = (self.0, interval(per_second)) {
            self.0 = at.checked_sub(each);
        }
    }

    fn is_full(&self, now: Instant) -> bool {
        self.0.is_none_or(|at| at <= now)
    }
}

/// The time that one takes; none if any number may come.
fn interval(per_second: u64) -> Option<Duration> {
    let nanos = 1_000_000_000_u64.checked_div(per_second)?;
    Some(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections: u64, rate: u64, logins: u64) -> LimitsConfig {
        LimitsConfig {
            max_connections_per_address: connections,
            connections_per_second_per_address: rate,
            logins_per_second_per_address: logins,
            ..LimitsConfig::default()
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn without_limits_nothing_is_remembered() {
        let addresses = Arc::new(Addresses::default());
        let limits = limits(0, 0, 0);
        let now = Instant::now();
        for _ in 0..1000 {
            let connected = addresses.connect(ip("192.0.2.1"), &limits, now);
            assert!(matches!(connected, Ok(None)));
            assert_eq!(addresses.login(ip("192.0.2.1"), &limits, now), Ok(()));
        }
        assert_eq!(addresses.count(), 0);
    }

    #[test]
    fn places_are_an_addresses_own_and_come_back() {
        let addresses = Arc::new(Addresses::default());
        let limits = limits(2, 0, 0);
        let now = Instant::now();
        let connect = |address| addresses.connect(ip(address), &limits, now);
        let one = connect("192.0.2.1").unwrap();
        let two = connect("::ffff:192.0.2.1").unwrap();
        assert_eq!(connect("192.0.2.1").unwrap_err(), TooMany::Connections);
        let other = connect("192.0.2.2").unwrap();
        drop(one);
        let three = connect("192.0.2.1").unwrap();
        assert_eq!(connect("192.0.2.1").unwrap_err(), TooMany::Connections);
        drop((two, three, other));
        assert_eq!(addresses.count(), 0);
    }

    #[test]
    fn a_network_of_64_bits_is_one_address() {
        let addresses = Arc::new(Addresses::default());
        let limits = limits(1, 0, 0);
        let connect = |address| addresses.connect(ip(address), &limits, Instant::now());
        let _one = connect("2001:db8:0:1::1").unwrap();
        let refused = connect("2001:db8:0:1:ffff::2").unwrap_err();
        assert_eq!(refused, TooMany::Connections);
        assert!(connect("2001:db8:0:2::1").is_ok());
    }

    #[test]
    fn ten_seconds_worth_may_come_at_once_and_then_a_second_brings_a_seconds_worth() {
        let addresses = Arc::new(Addresses::default());
        let limits = limits(0, 3, 5);
        let start = Instant::now();
        let connected = |now| {
            (0..1000)
                .map_while(|_| addresses.connect(ip("192.0.2.1"), &limits, now).ok())
                .count()
        };
        let logins = |now| {
            (0..1000)
                .map_while(|_| addresses.login(ip("192.0.2.1"), &limits, now).ok())
                .count()
        };
        assert_eq!((connected(start), logins(start)), (30, 50));
        assert_eq!((connected(start), logins(start)), (0, 0));
        let refused = addresses.connect(ip("192.0.2.1"), &limits, start);
        assert_eq!(refused.unwrap_err(), TooMany::ConnectionRate);
        let refused = addresses.login(ip("192.0.2.1"), &limits, start);
        assert_eq!(refused, Err(TooMany::LoginRate));
        let later = start + Duration::from_secs(2);
        assert_eq!((connected(later), logins(later)), (6, 10));
        let much_later = start + Duration::from_secs(3600);
        assert_eq!((connected(much_later), logins(much_later)), (30, 50));
    }

    #[test]
    fn those_that_have_recovered_are_forgotten() {
        let addresses = Arc::new(Addresses::default());
        let limits = limits(0, 0, 1);
        let start = Instant::now();
        for second in 0..100_u32 {
            let now = start + Duration::from_secs(second.into());
            for n in 0..1000 {
                let address = IpAddr::from((second * 1000 + n).to_be_bytes());
                assert_eq!(addresses.login(address, &limits, now), Ok(()));
            }
            // Those of this second and the one before, and as many again until the next search.
            let most = 4 * 1000 + TABLES * SMALL;
            assert!(addresses.count() <= most, "{}", addresses.count());
        }
    }
}
