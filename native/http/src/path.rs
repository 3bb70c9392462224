//! The path of a target as ejabberd_http reads it before it looks for a handler.
//!
//! `/ws`, `//ws/`, `/%77s`, `/./ws?a`, `/b/../ws` and `http://host/ws` are one path there, so they have to
//! be one for whoever decides in front of it.

use std::borrow::Cow;

/// The path that ejabberd_http's `request_handlers` are compared with: its segments, a slash before each;
/// nothing for the root. `None`: the target has no path, or none that ejabberd_http serves.
///
/// It takes `.` and `..` out, decodes, splits at each slash, those that were encoded among them, and takes
/// `..` out again, if in its own way. A segment with a `;` or a dot that was encoded stays as it is.
pub fn handler_path(target: &str) -> Option<Cow<'_, [u8]>> {
    let raw = raw_path(target)?;
    if is_normal(raw) {
        let end = raw.strip_suffix('/').unwrap_or(raw);
        return Some(Cow::Borrowed(end.as_bytes()));
    }
    let decoded = decode(&without_dots(raw));
    let mut path = Vec::with_capacity(raw.len());
    for segment in without_parents(decoded.split(|byte| *byte == b'/')) {
        path.push(b'/');
        path.extend_from_slice(segment);
    }
    Some(Cow::Owned(path))
}

/// Whether `path` is `prefix` or below it, both as of [`handler_path`]: a handler is asked for both.
pub fn is_at_or_below(path: &[u8], prefix: &[u8]) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// What stands before the query, from the first slash on. In an absolute target that is the first one
/// behind the scheme's, as erlang:decode_packet/3 has it.
fn raw_path(target: &str) -> Option<&str> {
    let path = if target.starts_with('/') {
        target
    } else {
        behind_authority(target)?
    };
    path.split('?').next()
}

fn behind_authority(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let served = ["http", "https"]
        .iter()
        .any(|other| scheme.eq_ignore_ascii_case(other));
    served.then(|| rest.find('/').map_or("/", |root| &rest[root..]))
}

/// Whether nothing has to be taken out or decoded; most paths are so.
fn is_normal(raw: &str) -> bool {
    let inner = raw.strip_prefix('/').unwrap_or(raw);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    !raw.contains('%')
        && (raw.len() <= 1
            || inner
                .split('/')
                .all(|segment| !matches!(segment, "" | "." | "..")))
}

/// The segments that stay when each `..` takes the one before it away.
fn without_dots(raw: &str) -> String {
    let mut parents = 0;
    let mut kept: Vec<&str> = Vec::new();
    for segment in raw.rsplit('/') {
        match segment {
            "" | "." => {}
            ".." => parents += 1,
            _ if parents > 0 => parents -= 1,
            _ => kept.push(segment),
        }
    }
    kept.reverse();
    kept.join("/")
}

/// What is no escape stays as it is.
fn decode(path: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let escaped = match (first, behind) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                rest = &behind[2..];
            }
            None => {
                decoded.push(*first);
                rest = behind;
            }
        }
    }
    decoded
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// What is left of decoded segments. ejabberd_http takes a `..` away with the segment before it, but only
/// where it stands right behind one in what has not been looked at: `a/b/../..` is `a`.
fn without_parents<'a>(segments: impl Iterator<Item = &'a [u8]>) -> Vec<&'a [u8]> {
    let mut segments = segments.filter(|segment| !segment.is_empty()).peekable();
    let mut kept = Vec::new();
    while let Some(segment) = segments.next() {
        if segment == b".." {
            continue;
        }
        if segments.next_if(|next| *next == b"..").is_none() {
            kept.push(segment);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(target: &str) -> Option<String> {
        handler_path(target).map(|path| path.escape_ascii().to_string())
    }

    #[test]
    fn one_path_in_all_its_forms() {
        for target in [
            "/ws",
            "/ws/",
            "//ws",
            "/ws//",
            "///ws///",
            "/./ws",
            "/ws/.",
            "/.//./ws/./",
            "/../ws",
            "/../../ws",
            "/x/../ws",
            "/x/y/../../ws",
            "/x/../y/../ws",
            "/ws/x/..",
            "/ws/x/../",
            "/%77s",
            "/%77%73",
            "/w%73/",
            "/%2fws",
            "/%2Fws%2f",
            "/x/%2e%2e/ws",
            "/x/.%2E/ws",
            "/x/%2e./ws",
            "/%2e%2e/ws",
            "/x%2f..%2fws",
            "/x%2f%2e%2e%2fws",
            "/ws/x/%2e%2e",
            "/ws/x/%2e%2e/%2e%2e",
            "/ws?",
            "/ws?a=/b",
            "/ws/?a/../b",
            "/ws?%zz",
            "//ws?a?b",
            "http://host/ws",
            "HTTP://host:80/ws/",
            "https://host//ws?a",
            "http://host/x/../%77s",
            "http://host?a/ws",
        ] {
            assert_eq!(path(target).as_deref(), Some("/ws"), "{target}");
        }
    }

    #[test]
    fn other_paths() {
        for (target, expected) in [
            ("/", ""),
            ("//", ""),
            ("/.", ""),
            ("/..", ""),
            ("/%2f", ""),
            ("/%2e%2e", ""),
            ("/?/ws", ""),
            ("http://host", ""),
            ("http://host?ws", ""),
            ("/ws/x", "/ws/x"),
            ("/ws/x//y", "/ws/x/y"),
            ("/x/ws", "/x/ws"),
            ("/ws2", "/ws2"),
            ("/WS", "/WS"),
            ("/ws;a", "/ws;a"),
            ("/;a/ws", "/;a/ws"),
            ("/ws%3ba", "/ws;a"),
            ("/%2577s", "/%77s"),
            ("/%252e%252e/ws", "/%2e%2e/ws"),
            ("/%2e/ws", "/./ws"),
            ("/ws/%2e", "/ws/."),
            ("/.../ws", "/.../ws"),
            ("/..ws", "/..ws"),
            ("/ws..", "/ws.."),
            ("/.ws", "/.ws"),
            ("/ws.", "/ws."),
            ("/ws/..", ""),
            ("/ws/../x", "/x"),
            ("/ws/%2e%2e/x", "/x"),
            ("/x/../../ws/y/..", "/ws"),
            ("/a/b/%2e%2e/%2e%2e/ws", "/a/ws"),
            ("/100%", "/100%"),
            ("/100%2", "/100%2"),
            ("/%e4", "/\\xe4"),
            ("/%C3%A4", "/\\xc3\\xa4"),
            ("/ws\\\\x", "/ws\\\\\\\\x"),
            ("/.well-known/host-meta", "/.well-known/host-meta"),
        ] {
            assert_eq!(path(target).as_deref(), Some(expected), "{target}");
        }
        for target in ["*", "host:443", "ftp://host/ws", "ws://host/ws", "", "ws"] {
            assert_eq!(path(target), None, "{target}");
        }
    }

    #[test]
    fn the_path_of_most_targets_is_a_part_of_them() {
        for target in ["/", "/ws", "/ws/", "/ws?a", "/a/b/c.d", "http://host/ws"] {
            assert!(
                matches!(handler_path(target), Some(Cow::Borrowed(_))),
                "{target}"
            );
        }
    }

    #[test]
    fn what_is_below() {
        for (path, prefix, expected) in [
            ("/ws", "/ws", true),
            ("/ws/x", "/ws", true),
            ("/ws2", "/ws", false),
            ("/w", "/ws", false),
            ("/x/ws", "/ws", false),
            ("", "/ws", false),
            ("/ws", "", true),
            ("", "", true),
        ] {
            let found = is_at_or_below(path.as_bytes(), prefix.as_bytes());
            assert_eq!(found, expected, "{path} {prefix}");
        }
    }
}
