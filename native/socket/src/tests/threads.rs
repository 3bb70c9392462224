//! The feeder, the writer and the owners on threads of their own, as on a VM's schedulers. Nobody
//! sleeps or polls: a wake that is lost is a test that says so after [`PATIENCE`].

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use parking_lot::{Condvar, Mutex};

use super::*;

/// Longer than anything here takes on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The mailboxes of all processes.
#[derive(Default)]
pub(super) struct Mail {
    boxes: Mutex<HashMap<u32, HashSet<u64>>>,
    arrived: Condvar,
}

impl Mail {
    pub(super) fn post(&self, process: u32, number: u64) {
        self.boxes.lock().entry(process).or_default().insert(number);
        self.arrived.notify_all();
    }

    pub(super) fn receive(&self, process: u32, number: u64) {
        let mut boxes = self.boxes.lock();
        while !boxes.entry(process).or_default().remove(&number) {
            let waited = self.arrived.wait_for(&mut boxes, PATIENCE);
            assert!(
                !waited.timed_out(),
                "process {process} was never woken for {number}"
            );
        }
    }
}

/// Sends its wakes as it is dropped, by when no lock is held, as the NIF does.
pub(super) struct Envelope<'a> {
    mail: &'a Mail,
    wakes: Vec<(u32, u64)>,
}

impl<'a> Envelope<'a> {
    pub(super) fn new(mail: &'a Mail) -> Self {
        Envelope {
            mail,
            wakes: Vec::new(),
        }
    }
}

impl Drop for Envelope<'_> {
    fn drop(&mut self) {
        for (process, number) in self.wakes.drain(..) {
            self.mail.post(process, number);
        }
    }
}

impl Sink<u32> for Envelope<'_> {
    fn wake(&mut self, process: u32, number: u64) {
        self.wakes.push((process, number));
    }

    fn deliver(&mut self, owner: u32, _: Handle, delivery: Delivery<'_>) {
        panic!("{owner} is not active and gets {delivery:?}");
    }
}

impl Monitor<u32> for Envelope<'_> {
    fn monitor(&mut self, _: u32) -> bool {
        true
    }
}

/// A process of the test: one thread acts for it at a time.
pub(super) struct Actor<'a> {
    pub(super) trunk: &'a Trunk<u32>,
    pub(super) mail: &'a Mail,
    pub(super) process: u32,
}

impl<'a> Actor<'a> {
    /// The process that owns the `n`th connection.
    pub(super) fn owner(trunk: &'a Trunk<u32>, mail: &'a Mail, n: u64, handle: Handle) -> Self {
        let owner = Self {
            trunk,
            mail,
            process: OWNER + n as u32,
        };
        owner.own(handle);
        owner
    }

    fn recv(&self, handle: Handle, length: usize) -> Result<Vec<u8>, Reason> {
        loop {
            match self.try_recv(handle, length) {
                Recv::Taken(bytes) => return Ok(bytes),
                Recv::Failed(reason) => return Err(reason),
                Recv::Wait(number) => self.mail.receive(self.process, number),
            }
        }
    }

    fn try_recv(&self, handle: Handle, length: usize) -> Recv<Vec<u8>> {
        let mut sink = Envelope::new(self.mail);
        let take = |piece: Piece<'_>| match text(piece) {
            Text::Bytes(bytes) => bytes,
            Text::Packet(packet) => panic!("{packet} in raw mode"),
        };
        self.trunk
            .recv(handle, self.process, length, &mut sink, take)
    }

    /// Sends all of it; says how often it had to wait.
    pub(super) fn send(
        &self,
        handle: Handle,
        data: &[u8],
        waited: impl Fn(),
    ) -> Result<(), Reason> {
        loop {
            let mut sink = Envelope::new(self.mail);
            let answer = self.trunk.send(handle, self.process, data, &mut sink);
            drop(sink);
            match answer {
                Send::Done => return Ok(()),
                Send::Failed(reason) => return Err(reason),
                Send::Wait(number) => {
                    waited();
                    self.mail.receive(self.process, number);
                }
            }
        }
    }

    pub(super) fn own(&self, handle: Handle) {
        let mut sink = Envelope::new(self.mail);
        self.trunk.own(handle, self.process, &mut sink);
    }

    pub(super) fn close(&self, handle: Handle) {
        self.trunk.close(handle, &mut Envelope::new(self.mail));
    }

    pub(super) fn die(self) {
        self.trunk.down(self.process, &mut Envelope::new(self.mail));
    }
}

/// Takes output until `heard` has had enough.
fn write(trunk: &Trunk<u32>, mail: &Mail, limit: usize, mut heard: impl FnMut(Event<'_>) -> bool) {
    let mut decoder = Decoder::new(MaxFrameSize::DEFAULT);
    loop {
        let mut sink = Envelope::new(mail);
        let batch = trunk.take_output(limit, &mut sink, <[u8]>::to_vec);
        drop(sink);
        match batch {
            None => mail.receive(WRITER, crate::sink::WRITER),
            Some(batch) => {
                for event in decoder.decode(&batch) {
                    if !heard(event.unwrap()) {
                        return;
                    }
                }
            }
        }
    }
}

/// The byte at an offset of what is said on the `n`th connection.
pub(super) fn byte(n: u64, offset: usize) -> u8 {
    ((offset * 7) as u64 + n * 31 + (offset >> 8) as u64) as u8
}

pub(super) fn bytes(n: u64, from: usize, length: usize) -> Vec<u8> {
    (from..from + length)
        .map(|offset| byte(n, offset))
        .collect()
}

/// Steps of many sizes that are the same in each run.
pub(super) fn sizes(seed: u64, limit: usize) -> impl Iterator<Item = usize> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        1 + (state >> 33) as usize % limit
    })
}

#[test]
fn echoes_come_back_whole_and_in_order_and_no_wake_is_lost() {
    const CONNECTIONS: u64 = 6;
    const TOTAL: usize = 200_000;
    const GATE: u32 = 3;
    let mut trunk = Trunk::new(raw(), READER);
    let mail = Mail::default();
    trunk.set_writer(WRITER, &mut Recorder::default());
    let waits = AtomicUsize::new(0);
    let (done, hang_up) = mpsc::channel();

    let echo = |n: u64, handle: Handle| {
        let owner = Actor::owner(&trunk, &mail, n, handle);
        let mut offset = 0;
        for size in sizes(n, 5000) {
            let length = size.min(TOTAL - offset);
            if length == 0 {
                break;
            }
            let data = owner.recv(handle, length).unwrap();
            assert!(data == bytes(n, offset, length), "input of {n} at {offset}");
            let waited = || {
                waits.fetch_add(1, Ordering::Relaxed);
                mail.post(GATE, 1);
            };
            owner.send(handle, &data, waited).unwrap();
            offset += length;
        }
        assert_eq!(owner.recv(handle, 0), Err(Reason::Closed));
        owner.close(handle);
    };
    let feed = |bytes: &[u8]| trunk.feed(bytes, &mut Envelope::new(&mail));
    let (echo, feed) = (&echo, &feed);

    thread::scope(|scope| {
        scope.spawn(|| {
            // The writer comes late: the owners fill all there is to fill, and wait.
            mail.receive(GATE, 1);
            let mut heard = [0; CONNECTIONS as usize];
            let mut closed = 0;
            write(&trunk, &mail, 10_000, |event| match event {
                Event::Content { id, bytes, .. } => {
                    let n = number(&id);
                    let offset = &mut heard[n as usize];
                    let right = bytes
                        .iter()
                        .enumerate()
                        .all(|(i, b)| *b == byte(n, *offset + i));
                    assert!(right, "output of {n} at {offset}");
                    *offset += bytes.len();
                    if *offset == TOTAL {
                        done.send(n).unwrap();
                    }
                    true
                }
                Event::Close { .. } => {
                    closed += 1;
                    closed < CONNECTIONS
                }
            });
            assert_eq!(heard, [TOTAL; CONNECTIONS as usize]);
        });
        scope.spawn(move || {
            let mut trunk_bytes = Vec::new();
            let mut offsets = [0; CONNECTIONS as usize];
            let mut lengths = sizes(99, 3000);
            while offsets.iter().any(|offset| *offset < TOTAL) {
                for n in 0..CONNECTIONS {
                    let offset = &mut offsets[n as usize];
                    let length = lengths.next().unwrap_or(1).min(TOTAL - *offset);
                    if length > 0 {
                        trunk_bytes.extend(frame(n, &bytes(n, *offset, length)));
                        *offset += length;
                    }
                }
            }
            let mut cuts = sizes(7, 20_000);
            let mut rest = &trunk_bytes[..];
            let mut n = 0;
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
                rest = after;
                for (handle, _) in feed(piece).opened {
                    let this = n;
                    scope.spawn(move || echo(this, handle));
                    n += 1;
                }
            }
            for n in hang_up.iter().take(CONNECTIONS as usize) {
                feed(&frame(n, b""));
            }
        });
    });
    assert!(waits.into_inner() > 0, "the writer was late");
    let mut sink = Envelope::new(&mail);
    for n in 0..CONNECTIONS as u32 {
        trunk.down(OWNER + n, &mut sink);
    }
    trunk.age(Duration::from_secs(31));
    trunk.sweep_all(&mut sink);
    assert_eq!(trunk.audit(), Holdings::default());
}

#[test]
fn connections_that_come_and_go_on_all_sides_leave_nothing() {
    const WORKERS: usize = 3;
    const CONNECTIONS: u64 = 1500;
    const GUEST: u32 = 5;
    let mut trunk = Trunk::new(raw(), READER);
    let mail = Mail::default();
    trunk.set_writer(WRITER, &mut Recorder::default());

    let work = |handles: mpsc::Receiver<(u64, Handle)>| {
        for (n, handle) in handles {
            let owner = Actor::owner(&trunk, &mail, n, handle);
            // A wait that ends early: by its cancel, or by the wake that was under way.
            if let Recv::Wait(number) = owner.try_recv(handle, 1 + n as usize % 40)
                && !trunk.cancel(handle, owner.process, number)
            {
                mail.receive(owner.process, number);
            }
            if n % 3 > 0 {
                let _closed_perhaps = owner.send(handle, &bytes(n, 0, 100), || {});
            }
            if n % 5 == 0 {
                // The peer says more, or closes.
                let _ = owner.recv(handle, 41);
            }
            if n % 2 == 0 {
                owner.close(handle);
            }
            owner.die();
        }
    };
    let pass_by = |handles: mpsc::Receiver<Handle>| {
        for handle in handles {
            // A process that owns nothing waits on what is another's, and lives on.
            let guest = Actor {
                trunk: &trunk,
                mail: &mail,
                process: GUEST,
            };
            if let Recv::Wait(number) = guest.try_recv(handle, 50) {
                mail.receive(GUEST, number);
                let _ = guest.try_recv(handle, 0);
            }
            if let Some(number) = trunk.watch(handle, GUEST, &mut Envelope::new(&mail)) {
                mail.receive(GUEST, number);
            }
        }
    };

    thread::scope(|scope| {
        let mut workers = Vec::new();
        for _ in 0..WORKERS {
            let (give, take) = mpsc::channel();
            workers.push(give);
            let work = &work;
            scope.spawn(move || work(take));
        }
        let (invite, invited) = mpsc::channel();
        scope.spawn(move || pass_by(invited));
        scope.spawn(|| {
            let mut closed = 0;
            write(&trunk, &mail, 1000, |event| {
                closed += u64::from(matches!(event, Event::Close { .. }));
                closed < CONNECTIONS
            });
        });
        let feed = |bytes: &[u8]| trunk.feed(bytes, &mut Envelope::new(&mail));
        scope.spawn(move || {
            // Ids come again as soon as the peer has closed them.
            for n in 0..CONNECTIONS {
                let opened = feed(&frame(n % 10, &bytes(n, 0, 40))).opened;
                assert_eq!(opened.len(), 1, "id {} is free", n % 10);
                workers[n as usize % WORKERS]
                    .send((n, opened[0].0))
                    .unwrap();
                if n % 7 == 0 {
                    invite.send(opened[0].0).unwrap();
                }
                if n % 4 == 0 {
                    feed(&frame(n % 10, b"more"));
                }
                if n >= 5 {
                    feed(&frame((n - 5) % 10, b""));
                }
            }
            for n in CONNECTIONS - 5..CONNECTIONS {
                feed(&frame(n % 10, b""));
            }
            drop((workers, invite));
        });
    });
    let mut sink = Envelope::new(&mail);
    trunk.down(GUEST, &mut sink);
    trunk.age(Duration::from_secs(31));
    trunk.sweep_all(&mut sink);
    assert_eq!(trunk.audit(), Holdings::default());
}

/// A piece of a file is longer than what is framed at once: the rest of it waits for a turn, which must not come
/// before what was framed.
#[test]
fn long_sends_keep_their_order() {
    const CONNECTIONS: u64 = 4;
    const PIECE: usize = 64 << 10;
    const PIECES: usize = 200;
    let trunk = Trunk::new(raw(), READER);
    let mail = Mail::default();
    trunk.set_writer(WRITER, &mut Recorder::default());
    let opening: Vec<u8> = (0..CONNECTIONS).flat_map(|n| frame(n, b"a")).collect();
    let opened = trunk.feed(&opening, &mut Envelope::new(&mail)).opened;
    let send = |n: u64, handle: Handle| {
        let owner = Actor::owner(&trunk, &mail, n, handle);
        let piece = bytes(n, 0, PIECE);
        for _ in 0..PIECES {
            owner.send(handle, &piece, || {}).unwrap();
        }
    };
    let (send, trunk, mail) = (&send, &trunk, &mail);
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut heard = [0; CONNECTIONS as usize];
            write(trunk, mail, 1 << 20, |event| {
                let Event::Content { id, bytes, .. } = event else {
                    panic!("nobody closes");
                };
                let n = number(&id);
                let offset = &mut heard[n as usize];
                let right = bytes
                    .iter()
                    .enumerate()
                    .all(|(i, b)| *b == byte(n, (*offset + i) % PIECE));
                assert!(right, "output of {n} at {offset}");
                *offset += bytes.len();
                heard.iter().any(|offset| *offset < PIECE * PIECES)
            });
        });
        for (n, (handle, _)) in (0..).zip(opened) {
            scope.spawn(move || send(n, handle));
        }
    });
}
