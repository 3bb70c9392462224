//! Frames a second in version 2, beside the `yamux` crate: 64 B, 1 KiB and 16 KiB of data, with 1,
//! 1,000 and 1,000,000 streams open and each frame for another one of them, in random order.
//!
//! - `receive`: from the trunk's bytes to a copy in the reader's hands, with the window updates
//!   that the reader's pace gives.
//! - `send`: from the writer's bytes to the trunk's bytes.
//!
//! Times are for a batch of frames; criterion's `elem/s` are frames.

#![forbid(unsafe_code)]
#![allow(missing_docs, clippy::expect_used)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};

/// Data in a batch.
const BATCH: usize = 256 * 1024;
/// What a socket gives or takes at once.
const PIECE: usize = 64 * 1024;
const SIZES: [usize; 3] = [64, 1024, 16 * 1024];
const STREAMS: [usize; 3] = [1, 1_000, 1_000_000];

/// One implementation with its streams open.
trait Subject {
    /// Takes in frames of the peer's and reads all data; nothing may be left.
    fn receive(&mut self, trunk: &[u8], ids: &[u32]);
    /// Writes data to each of the streams and takes the frames.
    fn send(&mut self, ids: &[u32], data: &[u8]);
    /// Takes in the window that the peer returns, unmeasured.
    fn receive_windows(&mut self, trunk: &[u8]);
}

/// Client's ids in an order that is the same in each run.
fn shuffled(streams: usize) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..streams as u32).map(|n| 2 * n + 1).collect();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for at in (1..ids.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ids.swap(at, (state % (at as u64 + 1)) as usize);
    }
    ids
}

fn header(kind: u8, id: u32, length: usize) -> [u8; 12] {
    let mut header = [0; 12];
    header[1] = kind;
    header[4..8].copy_from_slice(&id.to_be_bytes());
    header[8..].copy_from_slice(&(length as u32).to_be_bytes());
    header
}

fn write_data(trunk: &mut Vec<u8>, ids: &[u32], data: &[u8]) {
    trunk.clear();
    for id in ids {
        trunk.extend_from_slice(&header(0, *id, data.len()));
        trunk.extend_from_slice(data);
    }
}

fn write_windows(trunk: &mut Vec<u8>, ids: &[u32], length: usize) {
    trunk.clear();
    for id in ids {
        trunk.extend_from_slice(&header(1, *id, length));
    }
}

/// Batches of ids, over and over.
struct Turns {
    ids: Vec<u32>,
    at: usize,
}

impl Turns {
    fn next(&mut self, len: usize, batch: &mut Vec<u32>) {
        batch.clear();
        for _ in 0..len {
            batch.push(self.ids[self.at]);
            self.at = (self.at + 1) % self.ids.len();
        }
    }
}

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    streams: usize,
    subject: &mut dyn Subject,
) {
    let mut turns = Turns {
        ids: shuffled(streams),
        at: 0,
    };
    let (mut ids, mut trunk) = (Vec::new(), Vec::new());
    for size in SIZES {
        let data = vec![b'x'; size];
        let frames = BATCH / size;
        group.throughput(Throughput::Elements(frames as u64));
        let id = |direction| BenchmarkId::new(format!("{direction}/{name}/{size}"), streams);
        group.bench_function(id("receive"), |b| {
            b.iter_custom(|batches| {
                let mut spent = Duration::ZERO;
                for _ in 0..batches {
                    turns.next(frames, &mut ids);
                    write_data(&mut trunk, &ids, &data);
                    let start = Instant::now();
                    subject.receive(black_box(&trunk), &ids);
                    spent += start.elapsed();
                }
                spent
            });
        });
        group.bench_function(id("send"), |b| {
            b.iter_custom(|batches| {
                let mut spent = Duration::ZERO;
                for _ in 0..batches {
                    turns.next(frames, &mut ids);
                    let start = Instant::now();
                    subject.send(&ids, black_box(&data));
                    spent += start.elapsed();
                    write_windows(&mut trunk, &ids, size);
                    subject.receive_windows(&trunk);
                }
                spent
            });
        });
    }
}

mod ours {
    use std::hint::black_box;

    use super::PIECE;
    use megaphone_trunk::copy::append;
    use megaphone_trunk::v2::{Config, Event, Session, StreamId, Written};

    pub struct Ours {
        session: Session,
        taken: Vec<(StreamId, usize)>,
        read: Vec<u8>,
        out: Vec<u8>,
    }

    impl Ours {
        pub fn new(streams: usize) -> Self {
            let config = Config {
                max_streams: streams,
                ..Config::default()
            };
            let mut ours = Self {
                session: Session::server(config, 0),
                taken: Vec::new(),
                read: Vec::new(),
                out: Vec::new(),
            };
            for number in 0..streams as u32 {
                let mut syn = super::header(1, 2 * number + 1, 0);
                syn[3] = 1;
                let opened = ours.session.receive(&syn, &mut |_: Event<'_>| {});
                opened.expect("a SYN is allowed");
            }
            ours.take_output();
            ours
        }

        fn take_output(&mut self) {
            self.out.clear();
            let ignore = &mut |_: Event<'_>| {};
            self.session.take_output(usize::MAX, &mut self.out, ignore);
            black_box(&self.out);
        }
    }

    impl super::Subject for Ours {
        fn receive(&mut self, trunk: &[u8], ids: &[u32]) {
            let Self {
                session,
                taken,
                read,
                ..
            } = self;
            for piece in trunk.chunks(PIECE) {
                let received = session.receive(piece, &mut |event: Event<'_>| {
                    if let Event::Data { id, bytes, .. } = event {
                        read.clear();
                        append(read, bytes);
                        black_box(&read);
                        taken.push((id, bytes.len()));
                    }
                });
                received.expect("frames that are allowed");
                for (id, len) in taken.drain(..) {
                    session.consumed(id, len).expect("it came");
                }
            }
            black_box(ids);
            self.take_output();
        }

        fn send(&mut self, ids: &[u32], data: &[u8]) {
            let ids: Vec<_> = ids.iter().copied().map(StreamId::new).collect();
            for ids in ids.chunks(PIECE / data.len()) {
                // As a task does that takes what many tasks have to send.
                for ids in ids.chunks(64) {
                    self.session.warm(ids);
                    for id in ids {
                        let written = self.session.write(*id, data);
                        assert_eq!(written, Ok(Written::Taken));
                    }
                }
                self.take_output();
            }
        }

        fn receive_windows(&mut self, trunk: &[u8]) {
            let received = self.session.receive(trunk, &mut |_: Event<'_>| {});
            received.expect("windows that are allowed");
        }
    }
}

mod theirs {
    use std::cell::RefCell;
    use std::hint::black_box;
    use std::io;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::{Context, Poll};

    use super::PIECE;
    use futures::task::noop_waker;
    use futures::{AsyncRead, AsyncWrite};
    use yamux::{Config, Connection, Mode, Stream};

    /// A transport that reads what it is given and forgets what is written.
    #[derive(Default)]
    struct Transport {
        input: Vec<u8>,
        at: usize,
    }

    #[derive(Clone, Default)]
    struct Pipe(Rc<RefCell<Transport>>);

    impl AsyncRead for Pipe {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let mut transport = self.0.borrow_mut();
            let left = &transport.input[transport.at..];
            if left.is_empty() {
                return Poll::Pending;
            }
            let len = left.len().min(buffer.len());
            buffer[..len].copy_from_slice(&left[..len]);
            transport.at += len;
            Poll::Ready(Ok(len))
        }
    }

    impl AsyncWrite for Pipe {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            black_box(bytes);
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    pub struct Theirs {
        connection: Connection<Pipe>,
        pipe: Pipe,
        streams: Vec<Stream>,
        read: Vec<u8>,
    }

    impl Theirs {
        pub fn new(streams: usize) -> Self {
            let pipe = Pipe::default();
            let mut config = Config::default();
            config.set_max_connection_receive_window(None);
            config.set_max_num_streams(streams + 1);
            let mut theirs = Self {
                connection: Connection::new(pipe.clone(), config, Mode::Server),
                pipe,
                streams: Vec::new(),
                read: vec![0; 16 * 1024],
            };
            for number in 0..streams as u32 {
                let mut syn = super::header(1, 2 * number + 1, 0);
                syn[3] = 1;
                theirs.give(&syn);
                theirs.poll();
            }
            assert_eq!(theirs.streams.len(), streams);
            theirs
        }

        fn give(&mut self, trunk: &[u8]) {
            let mut transport = self.pipe.0.borrow_mut();
            transport.at = 0;
            transport.input.clear();
            transport.input.extend_from_slice(trunk);
        }

        fn poll(&mut self) {
            let waker = noop_waker();
            let mut context = Context::from_waker(&waker);
            while let Poll::Ready(stream) = self.connection.poll_next_inbound(&mut context) {
                let stream = stream.expect("the connection goes on").expect("no error");
                self.streams.push(stream);
            }
        }
    }

    impl super::Subject for Theirs {
        fn receive(&mut self, trunk: &[u8], ids: &[u32]) {
            self.give(trunk);
            self.poll();
            let waker = noop_waker();
            let mut context = Context::from_waker(&waker);
            for id in ids {
                let stream = Pin::new(&mut self.streams[(*id / 2) as usize]);
                let read = stream.poll_read(&mut context, &mut self.read);
                black_box(read).is_ready();
            }
            self.poll();
        }

        fn send(&mut self, ids: &[u32], data: &[u8]) {
            let waker = noop_waker();
            let mut context = Context::from_waker(&waker);
            for ids in ids.chunks(PIECE / data.len()) {
                for id in ids {
                    let mut data = data;
                    while !data.is_empty() {
                        let stream = Pin::new(&mut self.streams[(*id / 2) as usize]);
                        match stream.poll_write(&mut context, data) {
                            Poll::Ready(len) => data = &data[len.expect("an open stream")..],
                            // Its channel to the connection is full.
                            Poll::Pending => self.poll(),
                        }
                    }
                }
                self.poll();
            }
        }

        fn receive_windows(&mut self, trunk: &[u8]) {
            self.give(trunk);
            self.poll();
        }
    }
}

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("v2");
    group.sample_size(20);
    group.warm_up_time(Duration::from_millis(500));
    group.measurement_time(Duration::from_secs(2));
    for streams in STREAMS {
        measure(&mut group, "ours", streams, &mut ours::Ours::new(streams));
        measure(
            &mut group,
            "yamux",
            streams,
            &mut theirs::Theirs::new(streams),
        );
    }
    group.finish();
}

criterion_group!(benches, frames);
criterion_main!(benches);
