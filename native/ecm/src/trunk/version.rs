//! Which sessions can come to a trunk: ejabberd says it once per trunk (doc/protocol.md, "How a session moves").

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use megaphone_trunk::proxy::{self, Addresses, Command, Header};
use megaphone_xmpp::framing::{Control, read_control};
use tokio::time::timeout;

use super::connection::{Connection, Sent};
use super::link::Link;
use super::mailbox::Delivery;
use super::opening::{Binding, Content};

/// An ejabberd that does not answer within this time does not support moves.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks a trunk that has come up, and remembers the answer there.
pub async fn ask(link: Link) {
    let Ok(mut connection) = link.ask(header()) else {
        return;
    };
    // The header is all there is to say.
    if connection.try_send(b"") != Ok(Sent::Sent) {
        return;
    }
    let answer = timeout(PATIENCE, answer(&mut connection)).await;
    match answer {
        Ok(Some(version)) => {
            connection.finish();
            tracing::debug!("ejabberd says which sessions can come: {version}");
            link.set_version(version);
        }
        Ok(None) | Err(_) => {
            tracing::debug!("ejabberd does not say which sessions can come, so none do");
            connection.abort();
        }
    }
}

fn header() -> Vec<u8> {
    let header = Header {
        command: Command::Local,
        addresses: Addresses::Unspecified,
        alpn: Some(Bytes::from_static(
            Content::XmppFraming(Binding::Stream).alpn(),
        )),
        takeover: Some(Bytes::new()),
        ..Header::default()
    };
    let mut bytes = Vec::new();
    proxy::write(&header, &mut bytes);
    bytes
}

async fn answer(connection: &mut Connection) -> Option<String> {
    let mut said = Vec::new();
    loop {
        match connection.take() {
            Delivery::Content(bytes) => {
                connection.delivered(bytes.len());
                said.extend_from_slice(&bytes);
                match read_control(&said) {
                    Ok(None) => {}
                    Ok(Some((Control::Version(version), _))) => return Some(version.to_owned()),
                    Ok(Some(_)) | Err(_) => return None,
                }
            }
            Delivery::End(_) => return None,
            Delivery::Nothing => poll_fn(|context| connection.poll_changed(context)).await,
        }
    }
}
