//! Whoever watches the program.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use super::{Client, Ecm, PATIENCE, get, status};

/// Makes the program listen for us.
pub const METRICS: &str = "[metrics]\naddress = \"127.0.0.1:0\"\n";

/// A scrape: each sample's name with its labels, and its value.
pub type Samples = HashMap<String, f64>;

/// Asks the program's own listener; the whole answer.
#[track_caller]
pub fn ask(ecm: &mut Ecm, request: &str) -> String {
    let line = ecm.find_in_log("metrics at http://");
    let rest = line.split("metrics at http://").nth(1).unwrap();
    let address = rest.split('/').next().unwrap();
    let mut client = Client::connect(address.parse().unwrap());
    client.send(request);
    client.rest()
}

/// Takes the metrics, and holds their text to the format.
#[track_caller]
pub fn scrape(ecm: &mut Ecm) -> Samples {
    let answer = ask(ecm, &get("/metrics"));
    assert_eq!(status(&answer), 200, "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let content_type = "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n";
    assert!(head.contains(content_type), "{head}");
    parse(body)
}

/// Waits until a sample has a value.
#[track_caller]
pub fn wait_for(ecm: &mut Ecm, name: &str, value: f64) {
    let until = Instant::now() + PATIENCE;
    loop {
        let samples = scrape(ecm);
        if samples.get(name) == Some(&value) {
            return;
        }
        assert!(
            Instant::now() < until,
            "{name} does not become {value}: {samples:#?}"
        );
    }
}

/// Each sample belongs to the metric whose HELP and TYPE stand right above, and is there once.
#[track_caller]
fn parse(body: &str) -> Samples {
    let mut samples = Samples::new();
    let mut metrics = HashSet::new();
    let mut metric = String::new();
    let mut lines = body.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(name.starts_with("megaphone_ecm_") && text.ends_with('.'));
            assert!(metrics.insert(name.to_owned()), "{name} comes twice");
            let kind = lines.next().unwrap();
            let kind = kind.strip_prefix(&format!("# TYPE {name} ")).unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            metric = name.to_owned();
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with(&metric), "{name} below {metric}");
        let value = value.parse().unwrap();
        let before = samples.insert(name.to_owned(), value);
        assert_eq!(before, None, "{name} comes twice");
    }
    assert!(body.ends_with('\n') && !samples.is_empty());
    samples
}
