//! How much was processed, for `make fuzz`: a process may end at any moment, so it is written to a file each second.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How much one process did.
struct Count {
    file: Option<PathBuf>,
    items: u64,
    runs: u64,
    written: Instant,
}

thread_local! {
    static COUNT: RefCell<Count> = RefCell::new(Count {
        file: std::env::var_os("FUZZ_COUNT").map(PathBuf::from),
        items: 0,
        runs: 0,
        written: Instant::now(),
    });
}

/// Adds the frames, requests or documents of one run, which is over.
pub fn count(items: u64) {
    COUNT.with_borrow_mut(|count| {
        count.items += items;
        count.runs += 1;
        if let Some(file) = &count.file
            && count.written.elapsed() >= Duration::from_secs(1)
        {
            count.written = Instant::now();
            let text = format!("{} {}\n", count.items, count.runs);
            std::fs::write(file, text).expect("the file of FUZZ_COUNT can be written");
        }
    });
}
