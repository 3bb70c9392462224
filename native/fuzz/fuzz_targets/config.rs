//! ecm.toml.
//!
//! Either there is a configuration or it is said what is wrong, at a place that is in the file; and it is said the same
//! each time.
#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use megaphone_fuzz::config::{ConfigError, Reading, SAMPLE};
use megaphone_fuzz::{Input, count};

fuzz_target!(|input: &[u8]| {
    let mut input = Input::new(input);
    let mut files = 0;
    while !input.is_empty() {
        check(&file(&mut input));
        files += 1;
    }
    count(files);
});

/// The lines of the file that comes with the program, with what is commented out.
static LINES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let lines = SAMPLE
        .lines()
        .map(|line| line.trim_start_matches('#').trim());
    lines
        .filter(|line| line.starts_with('[') || line.contains(" = "))
        .collect()
});

/// Values of every type, and of none.
const VALUES: &[&str] = &[
    "0",
    "1",
    "-1",
    "1.5",
    "nan",
    "true",
    "\"\"",
    "\"a\"",
    "'127.0.0.1:5280'",
    "\"[::1]:5280\"",
    "\"/x\"",
    "\"1h\"",
    "\"10s\"",
    "\"64MiB\"",
    "[]",
    "[\"127.0.0.1\"]",
    "[\"::/0\", 1]",
    "{}",
    "{ a = 1 }",
    "1979-05-27",
    "9223372036854775807",
    "\"http\"",
    "\"https\"",
    "\"xmpp\"",
    "\"required\"",
    "\"unix:/x\"",
    "\"tcp://a:1\"",
    "\"\\u0000\"",
    "'''\n'''",
    "\"ä€\"",
    "0x7fffffffffffffff",
    "",
    "=",
    "\"",
];

/// Ten lines at most, right ones or nearly.
fn file(input: &mut Input<'_>) -> String {
    let mut text = String::new();
    for _ in 0..input.below(10) + 1 {
        let line =
            LINES[(usize::from(input.byte()) << 8 | usize::from(input.byte())) % LINES.len()];
        match (input.byte(), line.split_once(" = ")) {
            (0xf0.., _) => text.push_str(&String::from_utf8_lossy(input.bytes(8))),
            (0xa0.., Some((key, _))) => text.push_str(&format!("{key} = {}", input.pick(VALUES))),
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

fn check(text: &str) {
    let path = Path::new("ecm.toml");
    let read = || Reading::of_text(path, text.to_owned());
    let reading = read();
    let lines = text.lines().count();
    for error in reading.errors().iter().chain(&reading.warnings()) {
        let ConfigError::Wrong {
            line,
            column,
            message,
            ..
        } = error
        else {
            panic!("{error} has no place");
        };
        assert!((1..=lines + 1).contains(line) && *column >= 1, "{error}");
        assert!(
            !message.is_empty() && !error.to_string().contains('\n'),
            "{error}"
        );
    }
    let say = |errors: &[ConfigError]| errors.iter().map(ToString::to_string).collect::<Vec<_>>();
    let errors = say(reading.errors());
    assert_eq!(
        say(read().errors()),
        errors,
        "it is said the same each time"
    );
    assert!(
        reading.config().is_some() || !errors.is_empty(),
        "no configuration, and no reason"
    );
    assert_eq!(reading.into_config().is_ok(), errors.is_empty());
}
