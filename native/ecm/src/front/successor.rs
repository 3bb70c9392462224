//! Where the program that replaces this one connects, to hand on BOSH requests for sessions that are still here:
//! clients come to the new program with them as soon as it accepts.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustix::process::{geteuid, getpid};
use tokio::net::{UnixListener, UnixStream};

use super::listener::Context;
use super::peers;
use crate::fleet::{Opener, hand_over_address};

/// A socket that a successor connects to.
#[derive(Debug)]
pub struct SuccessorListener {
    listener: UnixListener,
    context: Arc<Context>,
}

impl SuccessorListener {
    /// Binds the socket. `None` if that fails, which is no reason not to serve.
    pub fn bind(context: Arc<Context>) -> Option<Self> {
        match UnixListener::bind(hand_over_address(getpid())) {
            Ok(listener) => Some(Self { listener, context }),
            Err(error) => {
                tracing::warn!(
                    "a program that replaces this one won't be able to hand on BOSH requests to it: {error}"
                );
                None
            }
        }
    }

    /// Accepts successors as long as the program runs.
    pub async fn run(&mut self) {
        while let Ok((stream, _)) = self.listener.accept().await {
            if !is_trusted(&stream).unwrap_or(false) {
                tracing::warn!("a process of another user wants to hand on BOSH requests: refused");
                continue;
            }
            let context = Arc::clone(&self.context);
            tokio::spawn(async move {
                let (reader, writer) = stream.into_split();
                // Its clients' addresses come with their requests.
                let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let (reader, writer) = (Box::new(reader), Box::new(writer));
                peers::serve(reader, writer, peer, Opener::Successor, &context).await;
            });
        }
    }
}

/// The peer names the clients whose requests it hands on, so it must be the same user, or root.
fn is_trusted(stream: &UnixStream) -> io::Result<bool> {
    let user = stream.peer_cred()?.uid();
    Ok(user == 0 || user == geteuid().as_raw())
}
