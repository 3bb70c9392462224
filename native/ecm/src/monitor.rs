//! The listener for monitoring: `/metrics` for Prometheus, `/health` for a load balancer.
//!
//! It is HTTP/1.1 with one request a connection, read as strictly as a client's.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use megaphone_http::{Event, Limits, RequestDecoder, RequestHead, RequestKind};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::front::accept::{Acceptor, BindError, Descriptor};
use crate::front::inherited::Inherited;
use crate::metrics::{self, NodeNow, Now};
use crate::node::{Condition, Status};
use crate::peer::{Socket, socket};
use crate::registries::Registries;
use crate::shutdown::Admission;
use crate::trunk::OutputBudget;

/// How long a request and its answer may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// The same while no other can be accepted.
const SHORT_TIME_LIMIT: Duration = Duration::from_secs(1);

/// How many are answered at once; others wait.
pub const AT_ONCE: usize = 16;

/// The largest head of a request.
const MAX_HEAD: usize = 16 * 1024;

/// The socket that is listened on.
#[derive(Debug)]
pub struct Monitor {
    acceptor: Acceptor,
    watched: Watched,
}

/// What is told of.
#[derive(Debug, Clone)]
pub struct Watched {
    /// What clients share.
    pub registries: Arc<Registries>,
    /// What waits for clients.
    pub budget: Arc<OutputBudget>,
    /// Whether clients are accepted.
    pub admission: watch::Receiver<Admission>,
}

/// An answer.
struct Answer {
    status: &'static str,
    content_type: &'static str,
    fields: &'static str,
    body: String,
}

impl Monitor {
    /// Binds the address and says so.
    ///
    /// # Errors
    /// [`BindError`], which names the address.
    pub fn bind(
        address: SocketAddr,
        inherited: &mut Inherited,
        watched: Watched,
    ) -> Result<Self, BindError> {
        let (local, acceptor) = Acceptor::bind(address, inherited)?;
        tracing::info!("metrics at http://{local}/metrics, health at http://{local}/health");
        Ok(Self { acceptor, watched })
    }

    /// Answers until the program ends; while it does, it says so. Once another program has its place, that one
    /// answers.
    pub async fn run(&mut self) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut admission = self.watched.admission.clone();
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let accepted = tokio::select! {
                accepted = self.acceptor.next() => accepted,
                Ok(_) = admission.wait_for(|it| *it == Admission::HandedOver) => return,
            };
            let (stream, watched) = (accepted.stream, self.watched.clone());
            // A request that takes longer gets no answer.
            match accepted.descriptor {
                Descriptor::Own => {
                    tokio::spawn(async move {
                        let _ = timeout(TIME_LIMIT, serve(stream, &watched)).await;
                        drop(place);
                    });
                }
                Descriptor::Kept => {
                    let _ = timeout(SHORT_TIME_LIMIT, serve(stream, &watched)).await;
                }
            }
        }
    }
}

async fn serve(mut stream: TcpStream, watched: &Watched) {
    let mut decoder = RequestDecoder::new(Limits {
        max_head: MAX_HEAD,
        ..Limits::default()
    });
    let mut input = BytesMut::new();
    let answer = loop {
        match decoder.decode(&mut input) {
            Ok(Some(Event::Head(head))) => {
                let answer = watched.answer(&head);
                break match head.kind() {
                    RequestKind::Head => answer.to_head(),
                    _ => answer.to_text(),
                }
                .into();
            }
            Ok(_) => {}
            Err(error) => break error.response(),
        }
        match stream.read_buf(&mut input).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
    };
    if stream.write_all(&answer).await.is_ok() {
        socket::close_gently(Socket::Plain(stream)).await;
    }
}

impl Watched {
    fn answer(&self, head: &RequestHead) -> Answer {
        let path = head.target().split('?').next().unwrap_or_default();
        match (head.method(), path) {
            ("GET" | "HEAD", "/metrics") => self.metrics(),
            ("GET" | "HEAD", "/health") => self.health(),
            (_, "/metrics" | "/health") => Answer {
                fields: "Allow: GET, HEAD\r\n",
                ..Answer::text("405 Method Not Allowed", "ask with GET")
            },
            _ => Answer::text("404 Not Found", "there are /metrics and /health"),
        }
    }

    fn metrics(&self) -> Answer {
        let logins = self.registries.nodes.logins();
        let now = Now {
            trunks_up: self.registries.nodes.trunk_count() as u64,
            nodes: self
                .registries
                .nodes
                .status()
                .iter()
                .map(node_now)
                .collect(),
            addresses: self.registries.address_count() as u64,
            logins_running: logins.running as u64,
            logins_waiting: logins.waiting as u64,
            input: self.registries.backlogs.budget().held(),
            output: self.budget.total().held(),
        };
        Answer {
            status: "200 OK",
            content_type: metrics::CONTENT_TYPE,
            fields: "",
            body: metrics::report(now),
        }
    }

    /// Whether clients can be sent here, and with more than one node, how each of them is.
    fn health(&self) -> Answer {
        if *self.admission.borrow() != Admission::Open {
            return Answer::text("503 Service Unavailable", "ending");
        }
        let (trunks, nodes) = (
            self.registries.nodes.trunk_count(),
            self.registries.nodes.status(),
        );
        let mut text = match trunks {
            0 => "no trunk is up".to_owned(),
            1 => "1 trunk is up".to_owned(),
            count => format!("{count} trunks are up"),
        };
        let is_healthy = trunks > 0 && self.registries.nodes.take_sessions();
        if trunks > 0 && !is_healthy {
            text.push_str(", and no node takes sessions");
        }
        if nodes.len() > 1 {
            for node in &nodes {
                let Status {
                    name,
                    state,
                    condition,
                    trunks,
                    sessions,
                    ..
                } = node;
                let (state, condition) = (state.name(), condition.name());
                let _ = write!(
                    text,
                    "\n{name}: {state}, {condition}, trunks: {trunks}, sessions: {sessions}"
                );
            }
        }
        let status = if is_healthy {
            "200 OK"
        } else {
            "503 Service Unavailable"
        };
        Answer::text(status, &text)
    }
}

fn node_now(node: &Status) -> NodeNow {
    NodeNow {
        name: node.name.clone(),
        state: node.state.name(),
        is_usable: node.is_usable(),
        is_ejected: matches!(node.condition, Condition::Ejected(_)),
        ejections: node.ejections,
        trunks: node.trunks as u64,
        sessions: node.sessions,
        leaving: node.leaving,
        requests: node.requests,
        share: node.share,
        logins_running: node.logins as u64,
        login_limit: (node.login_limit < usize::MAX).then_some(node.login_limit as u64),
    }
}

impl Answer {
    fn text(status: &'static str, text: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            fields: "",
            body: format!("{text}\n"),
        }
    }

    fn to_head(&self) -> String {
        format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}Cache-Control: no-store\r\n\
             Connection: close\r\n\r\n",
            self.status,
            self.content_type,
            self.body.len(),
            self.fields
        )
    }

    fn to_text(&self) -> String {
        self.to_head() + &self.body
    }
}
