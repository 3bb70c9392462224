//! Many light XMPP clients in one process.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    megaphone_swarm::cli::main()
}
