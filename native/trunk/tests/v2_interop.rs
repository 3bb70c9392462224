//! Against an implementation that nobody here wrote: the `yamux` crate, as client and as server.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod v2_support;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use futures::executor::{LocalPool, LocalSpawner};
use futures::task::LocalSpawnExt;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, io as futures_io};
use megaphone_trunk::v2::{Config, Event, Session, StreamId, Written};
use yamux::{Connection, Mode};

const STREAMS: usize = 8;
const MIB: usize = 1 << 20;

/// Bytes in one direction, and who waits for them.
#[derive(Default)]
struct Channel {
    bytes: VecDeque<u8>,
    closed: bool,
    reader: Option<Waker>,
}

/// The other implementation's end of the trunk.
#[derive(Clone, Default)]
struct Trunk {
    to_them: Rc<RefCell<Channel>>,
    to_us: Rc<RefCell<Channel>>,
}

impl AsyncRead for Trunk {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut channel = self.to_them.borrow_mut();
        if channel.bytes.is_empty() && !channel.closed {
            channel.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(io::Read::read(&mut channel.bytes, buffer))
    }
}

impl AsyncWrite for Trunk {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // In odd pieces, so that frames are cut.
        let piece = &bytes[..bytes.len().min(5_003)];
        self.to_us.borrow_mut().bytes.extend(piece);
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.to_us.borrow_mut().closed = true;
        Poll::Ready(Ok(()))
    }
}

/// Our end: a session and an owner that says what it has to and checks what it hears.
struct Ours {
    session: Session,
    streams: BTreeMap<StreamId, Stream>,
    heard_go_away: bool,
}

#[derive(Default)]
struct Stream {
    /// What is to be sent yet.
    to_send: VecDeque<u8>,
    /// FIN after that.
    then_finish: bool,
    finished: bool,
    received: Vec<u8>,
    peer_finished: bool,
}

impl Ours {
    fn new(session: Session) -> Self {
        Self {
            session,
            streams: BTreeMap::new(),
            heard_go_away: false,
        }
    }

    /// Reads what has come; `echo`ed streams send back what they get.
    fn read(&mut self, trunk: &Trunk, echo: bool) -> bool {
        let input: Vec<u8> = trunk.to_us.borrow_mut().bytes.drain(..).collect();
        let Self {
            session,
            streams,
            heard_go_away,
        } = self;
        let mut taken = Vec::new();
        session
            .receive(&input, &mut |event: Event<'_>| match event {
                Event::Opened { id } => {
                    streams.insert(id, Stream::default());
                }
                Event::Data { id, bytes, .. } => {
                    let stream = streams.get_mut(&id).unwrap();
                    stream.received.extend_from_slice(bytes);
                    if echo {
                        stream.to_send.extend(bytes);
                    }
                    taken.push((id, bytes.len()));
                }
                Event::Finished { id, .. } => {
                    let stream = streams.get_mut(&id).unwrap();
                    stream.peer_finished = true;
                    stream.then_finish |= echo;
                }
                Event::GoAway => *heard_go_away = true,
                Event::Reset { id, cause, .. } => panic!("stream {id} was reset: {cause:?}"),
                Event::Writable { .. } | Event::Window { .. } | Event::Closed { .. } => {}
            })
            .unwrap();
        for (id, n) in taken {
            // Their FIN may have come with it.
            let _ = session.consumed(id, n);
        }
        !input.is_empty()
    }

    fn write(&mut self, trunk: &Trunk) -> bool {
        for (id, stream) in &mut self.streams {
            while !stream.to_send.is_empty() {
                let (piece, _) = stream.to_send.as_slices();
                let piece = &piece[..piece.len().min(20_000)];
                if self.session.write(*id, piece) != Ok(Written::Taken) {
                    break;
                }
                let len = piece.len();
                stream.to_send.drain(..len);
            }
            if stream.then_finish && stream.to_send.is_empty() && !stream.finished {
                let _ = self.session.finish(*id).unwrap();
                stream.finished = true;
            }
        }
        let mut out = Vec::new();
        self.session
            .take_output(64 << 10, &mut out, &mut |_: Event<'_>| {});
        let mut channel = trunk.to_them.borrow_mut();
        channel.bytes.extend(&out);
        if let Some(reader) = channel.reader.take() {
            reader.wake();
        }
        !out.is_empty()
    }
}

fn content(stream: usize) -> Vec<u8> {
    (0..MIB)
        .map(|at| ((at * 31) ^ (at >> 9) ^ stream) as u8)
        .collect()
}

/// Drives the other implementation's connection until `close` says it is to end; streams that
/// come are echoed.
fn drive(
    spawner: &LocalSpawner,
    mut connection: Connection<Trunk>,
    close: Rc<Cell<bool>>,
    closer: Rc<RefCell<Option<Waker>>>,
) {
    let echo = spawner.clone();
    let task = poll_fn(move |context| {
        *closer.borrow_mut() = Some(context.waker().clone());
        if close.get() {
            return connection.poll_close(context).map(|closed| closed.unwrap());
        }
        while let Poll::Ready(stream) = connection.poll_next_inbound(context) {
            let Some(stream) = stream else {
                return Poll::Ready(());
            };
            let stream = stream.unwrap();
            echo.spawn_local(async move {
                let (mut reader, mut writer) = stream.split();
                futures_io::copy(&mut reader, &mut writer).await.unwrap();
                writer.close().await.unwrap();
            })
            .unwrap();
        }
        Poll::Pending
    });
    spawner.spawn_local(task).unwrap();
}

/// Lets both ends work until neither has anything to do.
fn settle(pool: &mut LocalPool, ours: &mut Ours, trunk: &Trunk, echo: bool) {
    loop {
        pool.run_until_stalled();
        let read = ours.read(trunk, echo);
        let wrote = ours.write(trunk);
        if !read && !wrote {
            return;
        }
    }
}

#[test]
fn their_client_and_our_server() {
    let trunk = Trunk::default();
    let mut ours = Ours::new(Session::server(Config::default(), 0));
    let mut pool = LocalPool::new();
    let spawner = pool.spawner();
    let mut connection = Connection::new(trunk.clone(), yamux::Config::default(), Mode::Client);
    let done = Rc::new(Cell::new(0));
    for number in 0..STREAMS {
        let opened = poll_fn(|context| connection.poll_new_outbound(context));
        let stream = pool.run_until(opened).unwrap();
        let done = Rc::clone(&done);
        let task = async move {
            let (mut reader, mut writer) = stream.split();
            let sent = content(number);
            let send = async {
                writer.write_all(&sent).await.unwrap();
                writer.close().await.unwrap();
            };
            let mut received = Vec::new();
            let receive = async { reader.read_to_end(&mut received).await.unwrap() };
            futures::future::join(send, receive).await;
            assert!(received == sent, "stream {number} came back otherwise");
            done.set(done.get() + 1);
        };
        spawner.spawn_local(task).unwrap();
    }
    let (close, closer) = (Rc::new(Cell::new(false)), Rc::default());
    drive(&spawner, connection, Rc::clone(&close), Rc::clone(&closer));
    settle(&mut pool, &mut ours, &trunk, true);

    assert_eq!(done.get(), STREAMS);
    assert_eq!(ours.session.stream_count(), 0);
    assert_eq!(ours.streams.len(), STREAMS);
    let totals = ours.session.totals();
    assert_eq!(totals.bytes_received, (STREAMS * MIB) as u64);
    assert_eq!(totals.bytes_sent, (STREAMS * MIB) as u64);
    assert_eq!(totals.streams_served, STREAMS as u64);

    close.set(true);
    closer.borrow_mut().take().unwrap().wake();
    settle(&mut pool, &mut ours, &trunk, true);
    assert!(ours.heard_go_away && trunk.to_us.borrow().closed);
    assert!(ours.session.is_drained());
}

#[test]
fn our_client_and_their_server() {
    let trunk = Trunk::default();
    let mut ours = Ours::new(Session::client(Config::default(), 0));
    let mut pool = LocalPool::new();
    let spawner = pool.spawner();
    let connection = Connection::new(trunk.clone(), yamux::Config::default(), Mode::Server);
    let (close, closer) = (Rc::new(Cell::new(false)), Rc::default());
    drive(&spawner, connection, Rc::clone(&close), Rc::clone(&closer));
    for number in 0..STREAMS {
        let sent = content(number);
        let (first, rest) = sent.split_at(number * 10_000);
        let id = ours.session.open(0, first).unwrap();
        ours.streams.insert(
            id,
            Stream {
                to_send: rest.iter().copied().collect(),
                then_finish: true,
                ..Stream::default()
            },
        );
    }
    settle(&mut pool, &mut ours, &trunk, false);

    for (number, (id, stream)) in ours.streams.iter().enumerate() {
        assert!(
            stream.received == content(number),
            "stream {id} came back otherwise"
        );
        assert!(stream.peer_finished && stream.finished);
    }
    assert_eq!(ours.session.stream_count(), 0);

    ours.session
        .go_away(megaphone_trunk::v2::GoAwayCode::Normal);
    settle(&mut pool, &mut ours, &trunk, false);
    assert!(ours.session.is_drained());
    // They take our go-away for the end and answer nothing.
    close.set(true);
}

#[test]
fn their_client_hears_of_a_reset() {
    let trunk = Trunk::default();
    let mut ours = Ours::new(Session::server(Config::default(), 0));
    let mut pool = LocalPool::new();
    let spawner = pool.spawner();
    let mut connection = Connection::new(trunk.clone(), yamux::Config::default(), Mode::Client);
    let opened = poll_fn(|context| connection.poll_new_outbound(context));
    let mut stream = pool.run_until(opened).unwrap();
    drive(&spawner, connection, Rc::default(), Rc::default());
    let read = Rc::new(RefCell::new(None));
    let result = Rc::clone(&read);
    let task = async move {
        stream.write_all(b"request").await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = Vec::new();
        *result.borrow_mut() = Some(stream.read_to_end(&mut answer).await);
    };
    spawner.spawn_local(task).unwrap();
    settle(&mut pool, &mut ours, &trunk, false);
    assert!(read.borrow().is_none());
    let (id, stream) = ours.streams.first_key_value().unwrap();
    assert_eq!(stream.received, b"request");
    ours.session.reset(*id).unwrap();
    settle(&mut pool, &mut ours, &trunk, false);
    // It calls a reset the end of the stream.
    assert!(matches!(*read.borrow(), Some(Ok(0))), "{read:?}");
}
