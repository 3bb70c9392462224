//! `[limits]`: what one client, and all of them, may cost.

use std::time::Duration;

use megaphone_xmpp::Limits;
use serde::Deserialize;

use super::values::{DAY, GIB, HOUR, KIB, MIB, MS, TIB, count, interval, size};

/// `[limits]`. Sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// How long a TLS handshake may take.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub handshake_timeout: Duration,
    /// How long the head of a request may take, from its first byte, and the first request's from
    /// the start of the connection.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub head_timeout: Duration,
    /// How long a body, a stanza or a message may take, beside what [`min_body_rate`](Self::min_body_rate)
    /// gives it: see [`body_time`](Self::body_time).
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub body_timeout: Duration,
    /// How many bytes of it give it a second more.
    #[serde(deserialize_with = "size::<1, GIB, _>")]
    pub min_body_rate: u64,
    /// How long a client may stay connected between two requests.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, DAY, _>")]
    pub idle_timeout: Duration,
    /// How long a client may take none of an answer that waits for it.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub send_timeout: Duration,
    /// How long an XMPP client may take to log in, from the start of its session's connection.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub auth_timeout: Duration,
    /// How long answers in flight may take when the program is told to end.
    #[serde(deserialize_with = "interval::<0, HOUR, _>")]
    pub shutdown_timeout: Duration,
    /// Over how long the clients are let go when another program has taken the place of this one.
    #[serde(deserialize_with = "interval::<0, HOUR, _>")]
    pub close_spread: Duration,
    /// The largest head of a request.
    #[serde(deserialize_with = "size::<256, MIB, _>")]
    pub max_head: u64,
    /// The most header fields in a head.
    #[serde(deserialize_with = "count::<1, 10_000, _>")]
    pub max_headers: u64,
    /// The largest body that comes in chunks.
    #[serde(deserialize_with = "size::<0, TIB, _>")]
    pub max_chunked_body: u64,
    /// The largest stanza of an XMPP client.
    #[serde(deserialize_with = "size::<{ 10_000 }, { GIB }, _>")]
    pub max_stanza_size: u64,
    /// How many elements inside one another an XMPP client's stanza may have.
    #[serde(deserialize_with = "count::<16, { Limits::MOST_DEPTH as u64 }, _>")]
    pub max_depth: u64,
    /// How many attributes an element of it may have, and how many namespace prefixes may be in scope.
    #[serde(deserialize_with = "count::<16, { Limits::MOST_ATTRIBUTES as u64 }, _>")]
    pub max_attributes: u64,
    /// The largest stanza of ejabberd.
    #[serde(deserialize_with = "size::<{ 10_000 }, { GIB }, _>")]
    pub max_stanza_from_ejabberd: u64,
    /// The most clients at once.
    #[serde(deserialize_with = "count::<1, 10_000_000, _>")]
    pub max_connections: u64,
    /// The most connections of one address at once; 0 for any number.
    #[serde(deserialize_with = "count::<0, 10_000_000, _>")]
    pub max_connections_per_address: u64,
    /// How many connections an address may open a second, and ten times as many at once; 0 for any number.
    #[serde(deserialize_with = "count::<0, 1_000_000, _>")]
    pub connections_per_second_per_address: u64,
    /// How many logins an address may begin a second, and ten times as many at once; 0 for any number.
    #[serde(deserialize_with = "count::<0, 1_000_000, _>")]
    pub logins_per_second_per_address: u64,
    /// How many logins ejabberd may have to answer when one more begins; 0 for any number.
    #[serde(deserialize_with = "count::<0, 1_000_000, _>")]
    pub logins_at_once: u64,
    /// How long a client may wait for its turn to log in.
    #[serde(deserialize_with = "interval::<{ 10 * MS }, HOUR, _>")]
    pub login_wait: Duration,
    /// The most output that waits for one client.
    #[serde(deserialize_with = "size::<MIB, TIB, _>")]
    pub max_client_buffer: u64,
    /// The most output that waits for all clients together.
    #[serde(deserialize_with = "size::<MIB, TIB, _>")]
    pub max_output_buffer: u64,
    /// The most input of all clients together that waits.
    #[serde(deserialize_with = "size::<MIB, TIB, _>")]
    pub max_input_buffer: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(15),
            head_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            min_body_rate: KIB,
            idle_timeout: Duration::from_secs(75),
            send_timeout: Duration::from_secs(60),
            auth_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(10),
            close_spread: Duration::from_secs(60),
            max_head: 64 * KIB,
            max_headers: 100,
            max_chunked_body: 20 * MIB,
            max_stanza_size: MIB,
            max_depth: 512,
            max_attributes: 1024,
            max_stanza_from_ejabberd: 16 * MIB,
            max_connections: 100_000,
            max_connections_per_address: 0,
            connections_per_second_per_address: 0,
            logins_per_second_per_address: 0,
            logins_at_once: 200,
            login_wait: Duration::from_secs(30),
            max_client_buffer: 64 * MIB,
            max_output_buffer: GIB,
            max_input_buffer: 512 * MIB,
        }
    }
}

impl LimitsConfig {
    /// How long something may take from its first byte on, of which so many bytes have come. A client that
    /// sends steadily has the more time the more there is; one that trickles has not.
    #[must_use]
    pub fn body_time(&self, bytes: u64) -> Duration {
        let millis = bytes.saturating_mul(1_000) / self.min_body_rate.max(1);
        self.body_timeout
            .saturating_add(Duration::from_millis(millis))
    }

    /// What a client's document may cost that has at most so many bytes, and no more than any.
    #[must_use]
    pub fn of_document(&self, bytes: usize) -> Limits {
        let number = |limit| usize::try_from(limit).unwrap_or(usize::MAX);
        Limits {
            max_document: number(self.max_stanza_size).min(bytes),
            max_depth: number(self.max_depth),
            max_attributes: number(self.max_attributes),
        }
    }
}
