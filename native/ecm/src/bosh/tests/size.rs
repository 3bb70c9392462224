//! What each user costs.

use std::sync::Arc;

use bytes::BytesMut;
use megaphone_http::{Event, RequestDecoder};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::super::requests::Entry;
use super::super::shared::SharedSession;
use super::super::{Sessions, serve};
use super::BoshSession;
use crate::config::Config;
use crate::entrance::{Downstream, Handover};
use crate::http::Origins;
use crate::node::testing;
use crate::peer::clients::Clients;
use crate::settings::Settings;
use crate::shutdown::Phase;

/// Each user who is online has such a task and such a session.
#[tokio::test]
async fn what_each_user_has_stays_small() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let mut input = BytesMut::from("POST /bosh HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n");
    let mut decoder = RequestDecoder::new(megaphone_http::Limits::default());
    let Ok(Some(Event::Head(head))) = decoder.decode(&mut input) else {
        panic!("a head is read");
    };
    let (nodes, _ejabberd) = testing::start();
    let (_sender, phase) = watch::channel(Phase::Serving);
    let sessions = Arc::new(Sessions::new(phase.clone()));
    let task = serve(
        Handover {
            downstream: Downstream::for_test(
                stream,
                Arc::new(Clients::new(1)).place(1).unwrap(),
                Arc::new(Settings::new(&Config::default())),
                nodes,
            ),
            phase,
            origins: Origins::Peer(address),
            decoder,
            input: input.into(),
            head,
        },
        sessions,
    );
    let size = size_of_val(&task);
    assert!(size <= 1_000, "a task of {size} bytes");
    let size = size_of::<SharedSession>();
    assert!(size <= 600, "a session of {size} bytes");
}

#[test]
fn a_session_is_small() {
    assert!(
        size_of::<BoshSession>() <= 512,
        "{}",
        size_of::<BoshSession>()
    );
    assert!(size_of::<Entry>() <= 96, "{}", size_of::<Entry>());
}
