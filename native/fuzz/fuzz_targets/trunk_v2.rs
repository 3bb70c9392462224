//! A whole trunk of version 2.
#![no_main]

use libfuzzer_sys::fuzz_target;
use megaphone_fuzz::{count, trunk};

fuzz_target!(|input: &[u8]| count(trunk::run::<trunk::V2>(input)));
