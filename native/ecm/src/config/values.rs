//! Values with units and bounds, each refused with a text that says what is allowed.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use tracing_subscriber::EnvFilter;

pub(super) const MS: u64 = 1;
pub(super) const SECOND: u64 = 1_000 * MS;
pub(super) const HOUR: u64 = 3_600 * SECOND;
pub(super) const DAY: u64 = 24 * HOUR;
pub(super) const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * KIB;
pub(super) const GIB: u64 = 1024 * MIB;
pub(super) const TIB: u64 = 1024 * GIB;

/// An address to listen on; names would leave open which of their addresses is meant.
pub(super) fn socket_address<'de, D: Deserializer<'de>>(d: D) -> Result<SocketAddr, D::Error> {
    let text = text(d, "an address as text, IP:PORT")?;
    text.parse().map_err(|_| {
        D::Error::custom(format_args!(
            "{text:?} is not an address to listen on, write IP:PORT, such as \"0.0.0.0:5280\" or \
             \"[::]:5280\""
        ))
    })
}

/// As [`socket_address`], for a key that may be left out.
pub(super) fn optional_socket_address<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<Option<SocketAddr>, D::Error> {
    socket_address(d).map(Some)
}

pub(super) fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    text(deserializer, "a file's path as text").map(PathBuf::from)
}

pub(super) fn optional_path<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<PathBuf>, D::Error> {
    path(deserializer).map(Some)
}

/// Paths of URLs, without a slash at the end.
pub(super) fn http_paths<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    let mut paths = Vec::<String>::deserialize(d)?;
    for path in &mut paths {
        let allowed = |c: u8| c.is_ascii_graphic() && !b"?#\"<>".contains(&c);
        let is_root = megaphone_http::handler_path(path).is_none_or(|path| path.is_empty());
        if !path.starts_with('/') || is_root || !path.bytes().all(allowed) {
            return Err(D::Error::custom(format_args!(
                "{path:?} is not the path of a URL, write one such as \"/ws\""
            )));
        }
        path.truncate(path.trim_end_matches('/').len());
    }
    if paths.is_empty() {
        return Err(D::Error::custom(
            "write at least one path; to switch it off write enabled = false",
        ));
    }
    Ok(paths)
}

/// The URL of BOSH.
pub(super) fn http_url<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    url(d, ["https://", "http://"])
}

/// The URL of WebSocket.
pub(super) fn websocket_url<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    url(d, ["wss://", "ws://"])
}

fn url<'de, D: Deserializer<'de>>(d: D, starts: [&str; 2]) -> Result<Option<String>, D::Error> {
    let url = text(d, "a URL as text")?;
    let host = starts.iter().find_map(|start| url.strip_prefix(start));
    let allowed = |c: u8| c.is_ascii_graphic() && !b"\"\\<>".contains(&c);
    let is_url =
        |rest: &str| !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(allowed);
    match host {
        Some(rest) if is_url(rest) => Ok(Some(url)),
        _ => Err(D::Error::custom(format_args!(
            "{url:?} is not a URL that begins with {} or {}",
            starts[0], starts[1]
        ))),
    }
}

/// Origins of pages, in lower case.
pub(super) fn origins<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    let mut origins = Vec::<String>::deserialize(d)?;
    for origin in &mut origins {
        let is_origin = origin.split_once("://").is_some_and(|(scheme, host)| {
            let of_host = |c: u8| c.is_ascii_graphic() && !b"/?#\"<>".contains(&c);
            !scheme.is_empty()
                && scheme
                    .bytes()
                    .all(|c| c.is_ascii_alphanumeric() || c == b'-')
                && !host.is_empty()
                && host.bytes().all(of_host)
        });
        if !is_origin {
            return Err(D::Error::custom(format_args!(
                "{origin:?} is not an origin, write SCHEME://HOST or SCHEME://HOST:PORT, such as \
                 \"https://chat.example.org\""
            )));
        }
        origin.make_ascii_lowercase();
    }
    Ok(origins)
}

pub(super) fn log_filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = text(deserializer, "a level as text")?;
    // A filter takes any word for a module's name, so a misspelt level would silence everything.
    let named =
        |part: &str| part.contains('=') || part.parse::<tracing::Level>().is_ok() || part == "off";
    if text.split(',').all(named) && EnvFilter::try_new(&text).is_ok() {
        return Ok(text);
    }
    Err(D::Error::custom(format_args!(
        "{text:?} is not a level, write error, warn, info, debug, trace, or a filter such as \
         \"info,megaphone_ecm::trunk=debug\""
    )))
}

/// A size in bytes, written with a unit, within bounds.
pub(super) fn size<'de, const MIN: u64, const MAX: u64, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<u64, D::Error> {
    Quantity::SIZE.read(deserializer, MIN, MAX)
}

/// A length of time, written with a unit, within bounds that are in milliseconds.
pub(super) fn interval<'de, const MIN: u64, const MAX: u64, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    Quantity::TIME
        .read(deserializer, MIN, MAX)
        .map(Duration::from_millis)
}

/// As [`interval`], or `off`.
pub(super) fn optional_interval<'de, const MIN: u64, const MAX: u64, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = text(
        deserializer,
        "a length of time as text, such as \"30s\", or \"off\"",
    )?;
    if text == "off" {
        return Ok(None);
    }
    let milliseconds = Quantity::TIME.within(&text, MIN, MAX)?;
    Ok(Some(Duration::from_millis(milliseconds)))
}

/// A list, of which what is wrong with one item is said of this item.
pub(super) fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    d: D,
) -> Result<Vec<T>, D::Error> {
    /// The deserializer knows the place of what is in a type of its own.
    #[derive(serde::Deserialize)]
    struct Item<T>(T);

    let items = Vec::<Item<T>>::deserialize(d)?;
    Ok(items.into_iter().map(|Item(item)| item).collect())
}

/// A plain number within bounds.
pub(super) fn count<'de, const MIN: u64, const MAX: u64, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<u64, D::Error> {
    let number = i64::deserialize(deserializer)?;
    u64::try_from(number)
        .ok()
        .filter(|number| (MIN..=MAX).contains(number))
        .ok_or_else(|| {
            D::Error::custom(format_args!(
                "{number} is out of bounds, allowed are {MIN} to {MAX}"
            ))
        })
}

/// A number with a unit, as text.
struct Quantity {
    what: &'static str,
    example: &'static str,
    unit_names: &'static str,
    /// Between the number and its unit when it is shown.
    gap: &'static str,
    /// The units from the smallest, and what they are worth of the smallest.
    units: &'static [(&'static str, u64)],
}

impl Quantity {
    const SIZE: Self = Self {
        what: "a size",
        example: "64 KiB",
        unit_names: "B, KiB, MiB, GiB",
        gap: " ",
        units: &[
            ("B", 1),
            ("KiB", 1 << 10),
            ("MiB", 1 << 20),
            ("GiB", 1 << 30),
        ],
    };
    const TIME: Self = Self {
        what: "a length of time",
        example: "30s",
        unit_names: "ms, s, m, h",
        gap: "",
        units: &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)],
    };

    fn read<'de, D: Deserializer<'de>>(&self, d: D, min: u64, max: u64) -> Result<u64, D::Error> {
        let Self {
            what,
            example,
            unit_names,
            ..
        } = self;
        let expected = format!("{what} as text, such as \"{example}\" (units: {unit_names})");
        let text = text(d, &expected)?;
        self.within(&text, min, max)
    }

    fn within<E: Error>(&self, text: &str, min: u64, max: u64) -> Result<u64, E> {
        let Self {
            what,
            example,
            unit_names,
            ..
        } = self;
        let value = self.parse(text).ok_or_else(|| {
            E::custom(format_args!(
                "{text:?} is not {what}, write one such as \"{example}\" (units: {unit_names})"
            ))
        })?;
        if (min..=max).contains(&value) {
            return Ok(value);
        }
        let (min, max) = (self.show(min), self.show(max));
        Err(E::custom(format_args!(
            "{text:?} is out of bounds, allowed are {min} to {max}"
        )))
    }

    fn parse(&self, text: &str) -> Option<u64> {
        let digits = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start();
        let (_, worth) = self.units.iter().find(|(name, _)| *name == unit)?;
        number.parse::<u64>().ok()?.checked_mul(*worth)
    }

    /// In the largest unit that it is a whole number of.
    fn show(&self, value: u64) -> String {
        let whole = |(_, worth): &&(&str, u64)| value >= *worth && value.is_multiple_of(*worth);
        let (unit, worth) = self
            .units
            .iter()
            .rev()
            .find(whole)
            .unwrap_or(&self.units[0]);
        format!("{}{}{unit}", value / worth, self.gap)
    }
}

/// Text that isn't empty.
pub(super) fn text<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: &str,
) -> Result<String, D::Error> {
    struct Text<'e>(&'e str);

    impl Visitor<'_> for Text<'_> {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
            if text.is_empty() {
                return Err(E::invalid_value(Unexpected::Str(text), &self));
            }
            Ok(text.to_owned())
        }
    }

    deserializer.deserialize_str(Text(expected))
}
