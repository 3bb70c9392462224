//! Many who send on one trunk of version 2, while its writer takes and its reader feeds what a real client's session
//! answers. A wake that is lost is a test that says so.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use megaphone_trunk::v2::{self, Event, Session, StreamId};

use super::threads::{Actor, Envelope, Mail, byte, bytes, sizes};
use super::v2::preface;
use super::{OWNER, READER, Recorder, WRITER, raw};
use crate::config::Config;
use crate::trunk::audit::Holdings;
use crate::{Handle, Trunk};

/// Less than what the senders would keep if they could.
const MOST: usize = 300 << 10;

fn trunk() -> Trunk<u32> {
    let trunk = Trunk::new(
        Config {
            max_trunk_output: MOST,
            ..raw()
        },
        READER,
    );
    trunk.set_writer(WRITER, &mut Recorder::default());
    trunk
}

/// What the peer heard of a stream.
#[derive(Default)]
struct Heard {
    offset: usize,
    ended: bool,
}

/// The ECM's end, on the thread that feeds the trunk.
struct Ecm {
    session: Session,
    ids: Vec<StreamId>,
    heard: HashMap<StreamId, Heard>,
}

impl Ecm {
    fn new() -> Self {
        Self {
            session: Session::client(v2::Config::default(), 0),
            ids: Vec::new(),
            heard: HashMap::new(),
        }
    }

    fn open(&mut self) {
        let id = self.session.open(0, &preface("xmpp-client")).unwrap();
        self.ids.push(id);
    }

    /// Reads what the writer took, checks it, and returns the windows.
    fn hear(&mut self, batch: &[u8]) {
        let (ids, heard) = (&self.ids, &mut self.heard);
        let mut returned = Vec::new();
        let mut listen = |event: Event<'_>| match event {
            Event::Data { id, bytes, .. } => {
                let n = ids.iter().position(|known| *known == id).unwrap() as u64;
                let heard = heard.entry(id).or_default();
                let right = bytes.iter().zip(heard.offset..);
                assert!(
                    right.into_iter().all(|(it, at)| *it == byte(n, at)),
                    "output of {n} at {}",
                    heard.offset
                );
                heard.offset += bytes.len();
                returned.push((id, bytes.len()));
            }
            Event::Finished { id, .. } | Event::Reset { id, .. } => {
                heard.entry(id).or_default().ended = true;
            }
            _ => {}
        };
        self.session.receive(batch, &mut listen).unwrap();
        for (id, len) in returned {
            // It fails once both sides have ended.
            let _ = self.session.consumed(id, len);
        }
    }

    /// Whether all streams from the `first` on have ended.
    fn have_ended(&self, first: usize) -> bool {
        let ended = |id| self.heard.get(id).is_some_and(|heard| heard.ended);
        self.ids[first..].iter().all(ended)
    }

    fn feed(&mut self, trunk: &Trunk<u32>, mail: &Mail) -> Vec<Handle> {
        let mut out = Vec::new();
        self.session
            .take_output(1 << 20, &mut out, &mut |_: Event<'_>| {});
        let fed = trunk.feed(&out, &mut Envelope::new(mail));
        assert_eq!(fed.error, None);
        fed.opened.into_iter().map(|(handle, _)| handle).collect()
    }
}

/// Takes output until it is stopped, and gives it to the peer.
fn write(trunk: &Trunk<u32>, mail: &Mail, stop: &AtomicBool, peer: &mpsc::Sender<Vec<u8>>) {
    loop {
        let mut sink = Envelope::new(mail);
        let batch = trunk.take_output(20_000, &mut sink, <[u8]>::to_vec);
        drop(sink);
        match batch {
            Some(batch) => peer.send(batch).unwrap(),
            None if stop.load(Ordering::Acquire) => return,
            None => mail.receive(WRITER, crate::sink::WRITER),
        }
    }
}

#[test]
fn what_many_send_at_a_time_comes_whole_and_in_order_and_no_wake_is_lost() {
    const SENDERS: usize = 8;
    const TOTAL: usize = 700_000;
    let trunk = trunk();
    let mail = Mail::default();
    let stop = AtomicBool::new(false);
    let waits = AtomicUsize::new(0);
    let mut ecm = Ecm::new();
    (0..SENDERS).for_each(|_| ecm.open());
    let handles = ecm.feed(&trunk, &mail);
    let (give, take) = mpsc::channel();
    let send = |n: u64, handle: Handle| {
        let owner = Actor::owner(&trunk, &mail, n, handle);
        let waited = || {
            waits.fetch_add(1, Ordering::Relaxed);
        };
        let mut offset = 0;
        for size in sizes(n, if n.is_multiple_of(2) { 300 } else { 70_000 }) {
            let length = size.min(TOTAL - offset);
            if length == 0 {
                break;
            }
            owner
                .send(handle, &bytes(n, offset, length), waited)
                .unwrap();
            offset += length;
        }
        owner.close(handle);
    };
    thread::scope(|scope| {
        let (trunk, mail, stop, send) = (&trunk, &mail, &stop, &send);
        scope.spawn(move || write(trunk, mail, stop, &give));
        for (n, handle) in (0..).zip(handles) {
            scope.spawn(move || send(n, handle));
        }
        while !ecm.have_ended(0) {
            ecm.hear(&take.recv().unwrap());
            ecm.feed(trunk, mail);
        }
        stop.store(true, Ordering::Release);
        mail.post(WRITER, crate::sink::WRITER);
    });
    assert!(ecm.heard.values().all(|heard| heard.offset == TOTAL));
    assert!(waits.into_inner() > 0, "there was room for all");
    assert_eq!(trunk.audit().pending, 0);
    assert_eq!(trunk.status().unsent, 0);
}

#[test]
fn senders_that_close_die_and_are_reset_leave_nothing() {
    const ROUNDS: usize = 60;
    const SENDERS: usize = 12;
    let trunk = trunk();
    let mail = Mail::default();
    let stop = AtomicBool::new(false);
    let mut ecm = Ecm::new();
    let (give, take) = mpsc::channel();
    let send = |n: u64, handle: Handle| {
        let owner = Actor::owner(&trunk, &mail, n, handle);
        let mut offset = 0;
        for size in sizes(n, 40_000).take(10) {
            // The peer may reset it.
            let Ok(()) = owner.send(handle, &bytes(n, offset, size), || {}) else {
                break;
            };
            offset += size;
        }
        match n % 3 {
            0 => owner.close(handle),
            1 => trunk.reset(handle, &mut Envelope::new(&mail)),
            _ => {}
        }
        owner.die();
    };
    thread::scope(|scope| {
        let (trunk, mail, stop, send) = (&trunk, &mail, &stop, &send);
        scope.spawn(move || write(trunk, mail, stop, &give));
        for round in 0..ROUNDS {
            (0..SENDERS).for_each(|_| ecm.open());
            let first = ecm.ids.len() - SENDERS;
            for (n, handle) in (first as u64..).zip(ecm.feed(trunk, mail)) {
                scope.spawn(move || send(n, handle));
            }
            if round.is_multiple_of(2) {
                let _ = ecm.session.reset(ecm.ids[first]);
                ecm.heard.entry(ecm.ids[first]).or_default().ended = true;
            }
            while !ecm.have_ended(first) {
                ecm.hear(&take.recv().unwrap());
                ecm.feed(trunk, mail);
            }
        }
        for id in &ecm.ids {
            // Those that only our side has closed.
            let _ = ecm.session.finish(*id);
        }
        ecm.feed(trunk, mail);
        stop.store(true, Ordering::Release);
        mail.post(WRITER, crate::sink::WRITER);
    });
    while let Ok(batch) = take.try_recv() {
        ecm.hear(&batch);
    }
    for n in 0..(ROUNDS * SENDERS) as u32 {
        trunk.down(OWNER + n, &mut Envelope::new(&mail));
    }
    assert_eq!(trunk.audit(), Holdings::default());
    assert_eq!(trunk.status().unsent, 0);
}
