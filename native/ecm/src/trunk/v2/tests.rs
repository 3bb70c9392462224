//! A trunk whose other end is here.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use megaphone_trunk::v2::{Config, Event, INITIAL_WINDOW, Session};

use super::mux::SPARE_IDS;
use super::*;
use crate::backlog::Backlogs;
use crate::budget::Holder as _;
use crate::config::LimitsConfig;
use crate::trunk::budget::OutputBudget;
use crate::trunk::mailbox::End;
use crate::trunk::usage::Kind;
use crate::trunk::{Sent, TrunkLost};

fn new_link(spare_ids: u32, backlogs: &Arc<Backlogs>) -> Arc<Multiplexer> {
    let ping_interval = Duration::from_secs(5);
    Arc::new(Multiplexer::with_spare_ids(
        budget(),
        Arc::clone(backlogs),
        Arc::default(),
        ping_interval,
        spare_ids,
    ))
}

fn budget() -> Arc<OutputBudget> {
    Arc::new(OutputBudget::new(&LimitsConfig::default()))
}

fn backlogs() -> Arc<Backlogs> {
    Arc::new(Backlogs::new(1 << 30))
}

#[test]
fn a_trunk_that_runs_out_of_ids_takes_no_more_and_ends_after_the_last() {
    let all = Session::client(Config::default(), 0).ids_left();
    let mux = new_link(all - 1, &backlogs());
    let mut first = mux.open(Kind::Session, b"header ".to_vec()).unwrap();
    let mut second = mux.open(Kind::Session, Vec::new()).unwrap();
    assert_eq!(mux.load(), 2);
    assert_eq!(first.try_send(b"first"), Ok(Sent::Sent));
    assert!(mux.is_accepting());
    assert_eq!(second.try_send(b"second"), Ok(Sent::Sent));
    // It has some left for as long as there is no other one.
    assert!(mux.worn.load(Relaxed) && mux.is_accepting());
    mux.finish();
    assert!(!mux.is_accepting() && first.is_retired());
    assert_eq!(mux.open(Kind::Session, Vec::new()).err(), Some(TrunkLost));
    assert_eq!(first.try_send(b" more"), Ok(Sent::Sent));
    first.abort();
    second.abort();
    assert_eq!(mux.load(), 0);
    let mut ejabberd = Session::server(Config::default(), 0);
    let mut told = Vec::new();
    let mut batch = Vec::new();
    while matches!(mux.take_output(&mut batch), run::Batch::Bytes { .. }) {
        let mut tell = |event: Event<'_>| {
            told.push(match event {
                Event::Data { id, bytes, .. } => {
                    format!("{} {}", id.get(), String::from_utf8_lossy(bytes))
                }
                Event::Reset { id, .. } => format!("{} reset", id.get()),
                Event::GoAway => "go-away".to_owned(),
                _ => return,
            });
        };
        ejabberd.receive(&batch, &mut tell).unwrap();
        batch.clear();
    }
    assert_eq!(
        told,
        [
            "1 header first",
            "3 second",
            "1  more",
            "1 reset",
            "3 reset",
            "go-away"
        ]
    );
    assert!(matches!(mux.take_output(&mut batch), run::Batch::Finished));
}

#[test]
fn what_waits_for_a_window_counts_until_it_is_gone() {
    let backlogs = backlogs();
    let counted = || backlogs.budget().held();
    let mux = new_link(SPARE_IDS, &backlogs);
    let open = |queued: usize| {
        let mut connection = mux.open(Kind::Session, Vec::new()).unwrap();
        let content = vec![b'x'; INITIAL_WINDOW as usize + queued];
        assert_eq!(connection.try_send(&content), Ok(Sent::Sent));
        connection
    };
    let connections = [open(1_000), open(2_000), open(3_000)];
    let write = || {
        let mut batch = Vec::new();
        while matches!(mux.take_output(&mut batch), run::Batch::Bytes { .. }) {
            batch.clear();
        }
    };
    // While the trunk stands still, all of it waits.
    let all = 3 * u64::from(INITIAL_WINDOW);
    assert!(counted() > all / 2, "{}", counted());
    write();
    assert_eq!(counted(), 6_000);
    // One whose client has left goes on, and counts.
    let [kept, left, evicted] = connections;
    drop(left);
    write();
    let mut queues = mux.queues();
    queues.sort_by_key(|queue| queue.held());
    let held: Vec<_> = queues.iter().map(|queue| queue.held()).collect();
    assert_eq!((counted(), held), (6_000, vec![1_000, 2_000, 3_000]));
    let end = |connection: &Stream| connection.mailbox().take();
    queues.remove(1).evict();
    queues.remove(1).evict();
    assert_eq!(counted(), 1_000);
    let ended = crate::trunk::Delivery::End(End::Overflowed);
    assert_eq!(end(&evicted), ended);
    assert_eq!(end(&kept), crate::trunk::Delivery::Nothing);
    mux.lose();
    assert_eq!(counted(), 0);
}

#[test]
fn the_window_comes_back_as_the_client_takes_its_output() {
    let mux = new_link(SPARE_IDS, &backlogs());
    let mut connection = mux.open(Kind::Session, Vec::new()).unwrap();
    assert_eq!(connection.try_send(b"request"), Ok(Sent::Sent));
    let mut ejabberd = Session::server(Config::default(), 0);
    let mut stream = None;
    let mut exchange = |ejabberd: &mut Session| {
        let mut bytes = Vec::new();
        mux.take_output(&mut bytes);
        let mut opened = |event: Event<'_>| {
            if let Event::Opened { id } = event {
                stream = Some(id);
            }
        };
        ejabberd.receive(&bytes, &mut opened).unwrap();
        bytes.clear();
        ejabberd.take_output(usize::MAX, &mut bytes, &mut |_: Event<'_>| {});
        mux.receive(&bytes).unwrap();
        stream.unwrap()
    };
    let id = exchange(&mut ejabberd);
    let window = INITIAL_WINDOW as usize;
    let answer = vec![b'x'; 2 * window];
    let _ = ejabberd.write(id, &answer).unwrap();
    exchange(&mut ejabberd);
    assert_eq!(connection.mailbox().held(), window);
    let mut taken = 0;
    while let crate::trunk::Delivery::Content(piece) = connection.mailbox().take() {
        // A few bytes at a time, as a slow socket takes them.
        for part in piece.chunks(1000) {
            connection.delivered(part.len());
            taken += part.len();
            exchange(&mut ejabberd);
            assert!(connection.mailbox().held() <= window);
        }
    }
    assert_eq!(taken, answer.len());
    assert_eq!(ejabberd.queued(id), 0);
}
