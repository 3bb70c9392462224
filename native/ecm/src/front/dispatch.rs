//! Which entrance has a connection, and which has it next.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::arrive::encrypt;
use crate::bosh::{self, Sessions};
use crate::certificates::Purpose;
use crate::config::Service;
use crate::entrance::{Arrival, Onward};
use crate::{relay, stream, websocket};

/// Serves a client that has arrived, in a task of its own.
pub fn start(arrival: Arrival, sessions: &Arc<Sessions>) {
    match arrival.downstream.service {
        Service::Http | Service::StreamRelay => spawn(relay::serve(arrival), sessions),
        Service::Streams(start_tls) => spawn(stream::serve(arrival, start_tls), sessions),
    }
}

/// Serves a client once it has arrived. That is awaited in a task of its own, as large as a handshake needs; the client
/// is then served in another.
pub fn start_after(
    arriving: impl Future<Output = Option<Arrival>> + Send + 'static,
    sessions: &Arc<Sessions>,
) {
    let sessions = Arc::clone(sessions);
    tokio::spawn(async move {
        if let Some(arrival) = arriving.await {
            start(arrival, &sessions);
        }
    });
}

/// Goes on with a connection that an entrance is done with.
fn go_on(onward: Onward, sessions: &Arc<Sessions>) {
    match onward {
        Onward::Tls(arrival) => start_after(encrypt(arrival, Purpose::StartTls), sessions),
        Onward::Bosh(mut handover) => {
            handover.phase = sessions.connections();
            spawn(bosh::serve(handover, Arc::clone(sessions)), sessions);
        }
        Onward::WebSocket(handover, answer) => {
            tokio::spawn(websocket::serve(handover, &answer));
        }
        Onward::Relay(handover, route) => spawn(relay::resume(handover, route), sessions),
    }
}

fn spawn<F>(entrance: F, sessions: &Arc<Sessions>)
where
    F: Future<Output = Option<Box<Onward>>> + Send + 'static,
{
    tokio::spawn(Served {
        entrance,
        sessions: Arc::clone(sessions),
    });
}

pin_project! {
    /// An entrance's task, and what follows it. An async block would have room for the entrance twice.
    struct Served<F> {
        #[pin]
        entrance: F,
        sessions: Arc<Sessions>,
    }
}

impl<F: Future<Output = Option<Box<Onward>>>> Future for Served<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        #[cfg(test)]
        tests::panic_if_asked();
        let this = self.project();
        if let Some(onward) = ready!(this.entrance.poll(context)) {
            go_on(*onward, this.sessions);
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use crate::config::{Config, ListenerConfig, ListenerKind, LogConfig};
    use crate::logging::Logging;
    use crate::metrics::PANICS;
    use crate::panics;
    use crate::server::{self, Started};

    /// Whether the next task of an entrance panics.
    static ASKED: AtomicBool = AtomicBool::new(false);

    pub fn panic_if_asked() {
        if ASKED.swap(false, Ordering::Relaxed) {
            panic!("as asked");
        }
    }

    async fn free_address() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    }

    async fn connect(address: SocketAddr) -> TcpStream {
        loop {
            match TcpStream::connect(address).await {
                Ok(stream) => return stream,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }

    /// A request that is answered without ejabberd.
    async fn ask(client: &mut TcpStream) -> String {
        let request = b"GET /.well-known/host-meta HTTP/1.1\r\nHost: a.example\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = String::new();
        while !answer.contains("</XRD>") {
            let mut buffer = [0; 1024];
            let length = client.read(&mut buffer).await.unwrap();
            assert!(length > 0, "closed after: {answer}");
            answer.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        }
        answer
    }

    #[tokio::test]
    async fn a_panic_ends_one_client_and_is_counted() {
        let address = free_address().await;
        let config = Config {
            listeners: vec![ListenerConfig::new(address, ListenerKind::Http)],
            ..Config::default()
        };
        let started = Started {
            config_file: None,
            open_files: None,
            replaces: None,
        };
        let logging = Logging::start(&LogConfig {
            level: "off".to_owned(),
            ..LogConfig::default()
        });
        let hook = std::panic::take_hook();
        panics::tell();
        let test = async {
            let mut other = connect(address).await;
            ask(&mut other).await;
            let before = PANICS.get();
            ASKED.store(true, Ordering::Relaxed);
            let mut unlucky = connect(address).await;
            let ended = unlucky.read(&mut [0; 1]).await;
            assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
            assert_eq!(PANICS.get(), before + 1);
            // The one that was there is served, and so is the next one.
            assert!(ask(&mut other).await.starts_with("HTTP/1.1 200"));
            let mut next = connect(address).await;
            assert!(ask(&mut next).await.starts_with("HTTP/1.1 200"));
        };
        tokio::select! {
            ended = server::run(config, started, logging) => assert!(ended.is_err(), "it ended"),
            () = test => {}
        }
        std::panic::set_hook(hook);
    }
}
