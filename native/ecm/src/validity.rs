//! When certificates are valid.

use std::cmp::Ordering;
use std::path::Path;

use tokio_rustls::rustls::pki_types::UnixTime;

use crate::config::Config;
use crate::der::element;
use crate::pem;

/// How long before its end a certificate is worth a warning, in seconds: 14 days.
const SOON: i64 = 14 * DAY;

/// Seconds.
const DAY: i64 = 24 * 60 * 60;

/// A part of the file, such as `certificate.0.cert`, and a warning about it.
type Warning = (String, String);

/// Warnings about the certificates that identify this program: those that are not valid now, or end soon. One that
/// can't be read is no matter for this. CAs are not looked at, as rustls uses those of a file whenever they end.
pub fn warnings(config: &Config, now: UnixTime) -> Vec<Warning> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let mut warnings = Vec::new();
    for (table, identity) in config.identities() {
        let chain = pem::certificates(&identity.cert).unwrap_or_default();
        let validities = chain.iter().map(|it| Validity::of(it));
        let of_chain = validities.enumerate().filter_map(|(place, validity)| {
            let why = validity?.warning(now)?;
            Some(format!("{} {why}", name(place, &identity.cert)))
        });
        warnings.extend(of_chain.map(|message| (format!("{table}.cert"), message)));
    }
    warnings
}

/// What a certificate is called: the first of its file is the program's own.
fn name(place: usize, file: &Path) -> String {
    match place {
        0 => format!("the certificate in {}", file.display()),
        place => format!("certificate {} in {}", place + 1, file.display()),
    }
}

/// When a certificate is valid (RFC 5280, section 4.1.2.5): both moments belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Validity {
    from: Moment,
    until: Moment,
}

/// A second.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Moment {
    /// Since 1970-01-01 00:00:00 UTC.
    seconds: i64,
    /// As in `2026-11-30 23:59:59 UTC`.
    text: String,
}

impl Validity {
    /// That of a certificate in DER (RFC 5280, section 4.1); `None` if it can't be read.
    fn of(certificate: &[u8]) -> Option<Self> {
        let signed = element(element(certificate)?.contents)?;
        // The version, which is left out if it is 1.
        let mut next = element(signed.contents)?;
        if next.tag == 0xa0 {
            next = element(next.rest)?;
        }
        // The serial number, the signature's algorithm and the issuer come before the validity.
        for _ in 0..3 {
            next = element(next.rest)?;
        }
        let from = element(next.contents)?;
        let until = element(from.rest)?;
        Some(Self {
            from: Moment::of(from.tag, from.contents)?,
            until: Moment::of(until.tag, until.contents)?,
        })
    }

    fn warning(&self, now: i64) -> Option<String> {
        let Self { from, until } = self;
        match (now.cmp(&from.seconds), until.seconds - now) {
            (Ordering::Less, _) => Some(format!(
                "is not valid before {}: whoever verifies it refuses it until then",
                from.text
            )),
            (_, ..0) => Some(format!(
                "expired on {}: whoever verifies it refuses it",
                until.text
            )),
            (_, left @ ..SOON) => Some(format!(
                "expires on {}, in {}; renew it",
                until.text,
                days(left / DAY)
            )),
            _ => None,
        }
    }
}

fn days(count: i64) -> String {
    match count {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        count => format!("{count} days"),
    }
}

impl Moment {
    /// A UTCTime, `YYMMDDHHMMSSZ`, whose years are 1950 to 2049, or a GeneralizedTime, `YYYYMMDDHHMMSSZ`.
    fn of(tag: u8, contents: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(contents).ok()?.strip_suffix('Z')?;
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let text = match (tag, text.len()) {
            (0x17, 12) if text < "5" => format!("20{text}"),
            (0x17, 12) => format!("19{text}"),
            (0x18, 14) => text.to_owned(),
            _ => return None,
        };
        let number = |from, to| text.get(from..to)?.parse::<i64>().ok();
        let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
        let (hour, minute, second) = (number(8, 10)?, number(10, 12)?, number(12, 14)?);
        let is_moment = (1..=12).contains(&month) && (1..=31).contains(&day);
        if !is_moment || hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let days = days_since_1970(year, month, day);
        Some(Self {
            seconds: days * DAY + hour * 3600 + minute * 60 + second,
            text: format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC"),
        })
    }
}

/// The days from 1970-01-01 to a day of the Gregorian calendar.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March: the day that is not in each of them is the last.
    let (year, month) = if month < 3 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // From March on months of 31 and 30 days take turns, five of them 153 days. 1970-01-01 is day 719,468.
    year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(from: i32, until: i32) -> rcgen::Certificate {
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 2, 28);
        params.not_after = date_time_ymd(until, 3, 1);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap()
    }

    #[test]
    fn a_certificate_says_when_it_is_valid() {
        for (from, until) in [
            (1950, 1970),
            (1969, 1999),
            (2000, 2049),
            (2024, 2050),
            (2100, 9999),
        ] {
            let found = Validity::of(certificate(from, until).der()).unwrap();
            let moments = [
                (found.from, from, "02-28", date_time_ymd(from, 2, 28)),
                (found.until, until, "03-01", date_time_ymd(until, 3, 1)),
            ];
            for (moment, year, day, expected) in moments {
                assert_eq!(moment.seconds, expected.unix_timestamp(), "{year}-{day}");
                assert_eq!(moment.text, format!("{year}-{day} 00:00:00 UTC"));
            }
        }
    }

    #[test]
    fn what_is_no_certificate_says_nothing() {
        let certificate = certificate(2000, 2050);
        let der = certificate.der();
        for length in 0..der.len() {
            assert_eq!(Validity::of(&der[..length]), None, "{length} bytes");
        }
    }

    #[test]
    fn a_moment_is_digits_of_a_day_and_its_time() {
        let of = |tag, text: &str| Moment::of(tag, text.as_bytes()).map(|it| it.text);
        let new_year = Some("2026-01-01 12:34:56 UTC".to_owned());
        assert_eq!(of(0x17, "260101123456Z"), new_year);
        assert_eq!(of(0x18, "20260101123456Z"), new_year);
        for (tag, text) in [
            (0x17, "20260101123456Z"),
            (0x18, "260101123456Z"),
            (0x17, "2601011234Z"),
            (0x17, "260101123456"),
            (0x17, "260101123456+0100"),
            (0x17, "26010112345\u{e4}Z"),
            (0x17, "+60101123456Z"),
            (0x17, "261301123456Z"),
            (0x17, "260100123456Z"),
            (0x17, "260101243456Z"),
            (0x16, "260101123456Z"),
        ] {
            assert_eq!(of(tag, text), None, "{tag:x} {text}");
        }
    }

    #[test]
    fn a_warning_comes_before_from_and_fourteen_days_before_until() {
        let validity = Validity::of(certificate(2000, 2030).der()).unwrap();
        let (from, until) = (validity.from.seconds, validity.until.seconds);
        for (now, expected) in [
            (
                from - 1,
                "is not valid before 2000-02-28 00:00:00 UTC: whoever verifies it refuses it until then",
            ),
            (from, ""),
            (until - SOON, ""),
            (
                until - SOON + 1,
                "expires on 2030-03-01 00:00:00 UTC, in 13 days; renew it",
            ),
            (
                until - DAY,
                "expires on 2030-03-01 00:00:00 UTC, in 1 day; renew it",
            ),
            (
                until,
                "expires on 2030-03-01 00:00:00 UTC, in less than a day; renew it",
            ),
            (
                until + 1,
                "expired on 2030-03-01 00:00:00 UTC: whoever verifies it refuses it",
            ),
        ] {
            assert_eq!(
                validity.warning(now).unwrap_or_default(),
                expected,
                "{}",
                now - until
            );
        }
    }
}
