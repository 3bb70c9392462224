//! How connections open, whose they are, and how they end from either side.

use crate::TrunkError;

use super::*;

#[test]
fn the_first_frame_of_an_id_opens_its_connection() {
    let mut world = World::new(raw());
    let fed = world.say(1, b"a");
    let [(first, _)] = fed.opened[..] else {
        panic!("{fed:?}")
    };
    assert_eq!(world.trunk.owner(first), Some(READER));
    assert!(world.trunk.is_open(first));
    assert!(world.say(1, b"b").opened.is_empty());
    assert_eq!(world.say(2, b"c").opened.len(), 1);
    let status = world.trunk.status();
    assert_eq!(
        (status.connections, status.opened, status.frames_in),
        (2, 2, 3)
    );
}

#[test]
fn bytes_that_came_before_the_owner_wait_for_it() {
    let mut world = World::new(raw());
    let handle = world.say(1, b"early").opened[0].0;
    world.say(1, b" bird");
    assert!(world.own(handle, OWNER));
    assert_eq!(
        world.read_all(handle, OWNER),
        (b"early bird".to_vec(), None)
    );
}

#[test]
fn a_close_by_the_owner_is_told_and_the_id_stays_dead() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    world.close(handle);
    assert_eq!(world.take_all(), [Heard::Close(1)]);
    assert!(world.say(1, b"late").opened.is_empty());
    world.pass(29);
    assert!(world.say(1, b"later").opened.is_empty());
    world.pass(1);
    assert_eq!(
        world.say(1, b"a new one").opened.len(),
        1,
        "30 s after the close"
    );
}

#[test]
fn a_dead_id_lives_again_after_the_peers_close() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    world.close(handle);
    world.say(1, b"late");
    world.say(1, b"");
    assert_eq!(
        world.take_all(),
        [Heard::Close(1)],
        "one close, no answer to the answer"
    );
    let next = world.open(1, OWNER, b"again");
    assert_ne!(next, handle);
    assert_eq!(world.read_all(next, OWNER), (b"again".to_vec(), None));
    world.pass(31);
    assert_eq!(
        world.read_all(next, OWNER),
        (vec![], None),
        "the old end is not its own"
    );
    world.close(next);
    world.assert_empty();
}

#[test]
fn a_close_by_the_peer_is_answered_and_what_came_before_can_be_read() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"last words");
    let fed = world.say(1, b"");
    assert_eq!(fed.busy, [OWNER], "an owner at work doesn't notice");
    assert_eq!(world.take_all(), [Heard::Close(1)]);
    assert!(!world.trunk.is_open(handle));
    assert_eq!(
        world.send(handle, OWNER, b"x"),
        Send::Failed(Reason::Closed)
    );
    assert_eq!(world.recv(handle, OWNER, 4), Recv::Taken(b"last".to_vec()));
    assert_eq!(
        world.read_all(handle, OWNER),
        (b" words".to_vec(), Some(Reason::Closed))
    );
    world.close(handle);
    assert_eq!(world.take_all(), [], "there is nobody to tell");
    world.assert_empty();
}

#[test]
fn an_owner_in_recv_or_active_notices_a_close_and_is_not_busy() {
    let mut world = World::new(raw());
    let reading = world.open(1, OWNER, b"a");
    world.read_all(reading, OWNER);
    let number = wait(world.recv(reading, OWNER, 0));
    let active = world.open(2, OWNER + 1, b"b");
    world.set_active(active, Active::Always);
    let both = [frame(1, b""), frame(2, b"")].concat();
    assert_eq!(world.feed(&both).busy, []);
    assert_eq!(world.wakes(), [(OWNER, number)]);
    assert_eq!(world.told(), [Told::Data(b"b".to_vec()), Told::Closed]);
}

#[test]
fn a_connection_that_opens_and_closes_in_one_feed_can_still_be_read() {
    let mut world = World::new(raw());
    let fed = world.feed(&[frame(1, b"hello"), frame(1, b"")].concat());
    assert_eq!(
        fed.busy,
        [],
        "the reader of the trunk does not wait for its connections"
    );
    let handle = fed.opened[0].0;
    assert!(world.own(handle, OWNER));
    assert!(!world.trunk.is_open(handle));
    assert_eq!(
        world.read_all(handle, OWNER),
        (b"hello".to_vec(), Some(Reason::Closed))
    );
    world.die(OWNER);
    world.assert_empty();
}

#[test]
fn an_id_can_open_anew_while_its_last_connection_has_an_owner() {
    let mut world = World::new(raw());
    let old = world.open(1, OWNER, b"old");
    world.say(1, b"");
    let new = world.open(1, OWNER + 1, b"new");
    world.close(old);
    assert!(
        world.trunk.is_open(new),
        "the end of one is not the end of the next"
    );
    assert_eq!(world.send(new, OWNER + 1, b"answer"), Send::Done);
    assert_eq!(
        world.take_all(),
        [Heard::Close(1), Heard::Data(1, b"answer".to_vec())]
    );
    assert_eq!(world.read_all(new, OWNER + 1), (b"new".to_vec(), None));
}

#[test]
fn a_close_waits_for_the_output_before_it() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    let long = vec![7; 600 << 10];
    assert_eq!(world.send(handle, OWNER, &long), Send::Done);
    world.close(handle);
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Failed(Reason::Closed));
    world.say(1, b"dropped");
    let mut heard = world.take_all();
    assert_eq!(heard.pop(), Some(Heard::Close(1)));
    let sent: Vec<u8> = heard.into_iter().flat_map(data_of(1)).collect();
    assert!(sent == long, "{} of {} bytes", sent.len(), long.len());
    world.say(1, b"");
    assert_eq!(world.take_all(), []);
    world.assert_empty();
}

#[test]
fn output_for_a_peer_that_closed_is_dropped() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    world.send(handle, OWNER, &vec![7; 600 << 10]);
    world.say(1, b"");
    world.close(handle);
    let heard = world.take_all();
    assert_eq!(
        heard.last(),
        Some(&Heard::Close(1)),
        "what was framed, then the close"
    );
    assert_eq!(heard.iter().filter(|h| **h == Heard::Close(1)).count(), 1);
    world.assert_empty();
}

#[test]
fn death_of_the_owner_closes_all_that_it_owns() {
    let mut world = World::new(raw());
    let handles: Vec<_> = (1..=3).map(|n| world.open(n, OWNER, b"a")).collect();
    let other = world.open(4, OWNER + 1, b"a");
    world.die(OWNER);
    let mut closed = world.take_all();
    closed.sort_by_key(|heard| format!("{heard:?}"));
    assert_eq!(closed, [Heard::Close(1), Heard::Close(2), Heard::Close(3)]);
    for handle in handles {
        assert_eq!(world.trunk.owner(handle), None);
    }
    assert!(world.trunk.is_open(other));
}

#[test]
fn an_owner_that_is_dead_already_closes_its_connection() {
    let mut world = World::new(raw());
    let handle = world.say(1, b"a").opened[0].0;
    world.die(OWNER);
    assert!(world.own(handle, OWNER));
    assert_eq!(world.trunk.owner(handle), None);
    assert_eq!(world.take_all(), [Heard::Close(1)]);
}

#[test]
fn a_connection_that_was_handed_on_outlives_its_former_owner() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    assert!(world.own(handle, OWNER + 1));
    world.die(OWNER);
    assert_eq!(world.trunk.owner(handle), Some(OWNER + 1));
    world.die(OWNER + 1);
    assert_eq!(world.trunk.owner(handle), None);
    world.assert_empty();
}

#[test]
fn a_handle_whose_connection_has_ended_is_closed_for_every_call() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    world.close(handle);
    world.say(1, b"");
    // Its slot has another connection now, or none.
    for n in 2..200 {
        world.open(n, OWNER, b"b");
    }
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Failed(Reason::Closed));
    assert_eq!(
        world.send(handle, OWNER, b"x"),
        Send::Failed(Reason::Closed)
    );
    assert!(!world.own(handle, OWNER));
    assert!(!world.trunk.cancel(handle, OWNER, 1));
    let both = crate::Direction::ReadWrite;
    assert!(!world.trunk.shutdown(handle, both, &mut world.sink));
    assert_eq!(
        world.activate(handle, ActiveChange::To(Active::Once)),
        Err(Reason::Invalid)
    );
    assert_eq!(world.trunk.options(handle), None);
    assert_eq!(world.trunk.statistics(handle), None);
    assert_eq!(world.trunk.watch(handle, OWNER, &mut world.sink), None);
    world.close(handle);
    assert_eq!(world.trunk.status().connections, 198);
}

#[test]
fn a_lost_trunk_breaks_all_connections_and_says_so_once() {
    let mut world = World::new(raw());
    let busy = world.open(1, OWNER, b"unread");
    let reading = world.open(2, OWNER + 1, b"b");
    world.read_all(reading, OWNER + 1);
    let number = wait(world.recv(reading, OWNER + 1, 0));
    let active = world.open(3, OWNER + 2, b"c");
    world.set_active(active, Active::Always);
    let sending = world.open(4, OWNER + 3, b"d");
    world.send(sending, OWNER + 3, &vec![0; 600 << 10]);
    let room = send_wait(world.send(sending, OWNER + 3, b"more"));
    world.told();
    let lost = world.trunk.lose(&mut world.sink);
    world.trunk.audit();
    assert_eq!(
        BTreeSet::from_iter(lost),
        BTreeSet::from([OWNER, OWNER + 3])
    );
    assert_eq!(
        BTreeSet::from_iter(world.wakes()),
        BTreeSet::from([(OWNER + 1, number), (OWNER + 3, room)])
    );
    assert_eq!(
        world.told(),
        [Told::Error(Reason::ConnectionReset), Told::Closed]
    );
    for (handle, owner) in [(busy, OWNER), (reading, OWNER + 1)] {
        assert_eq!(
            world.recv(handle, owner, 0),
            Recv::Failed(Reason::ConnectionReset)
        );
        assert_eq!(world.recv(handle, owner, 0), Recv::Failed(Reason::Closed));
    }
    assert_eq!(
        world.send(sending, OWNER + 3, b"more"),
        Send::Failed(Reason::ConnectionReset)
    );
    for owner in OWNER..OWNER + 4 {
        world.die(owner);
    }
    world.assert_empty();
}

#[test]
fn a_close_of_an_id_that_nobody_knows_is_nothing() {
    let mut world = World::new(raw());
    let fed = world.say(1, b"");
    assert!(fed.opened.is_empty() && fed.busy.is_empty());
    assert_eq!(world.take_all(), []);
    world.assert_empty();
}

#[test]
fn bytes_that_are_no_frame_end_the_trunk_after_what_came_before() {
    let mut world = World::new(raw());
    let fed = world.feed(&[&frame(1, b"good"), &b"GET / HTTP/1.1\r\n"[..]].concat());
    assert_eq!(fed.opened.len(), 1);
    let Some(TrunkError::V1(error)) = fed.error else {
        panic!("expected a frame's error, not {:?}", fed.error);
    };
    assert_eq!(error.offset, 36);
    assert_eq!(world.errors("frame_length_byte"), 1);
    assert_eq!(
        world.read_all(fed.opened[0].0, READER),
        (b"good".to_vec(), None)
    );
}

#[test]
fn shutdown_ends_a_direction() {
    use crate::Direction;
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    assert!(
        world
            .trunk
            .shutdown(handle, Direction::Write, &mut world.sink)
    );
    assert_eq!(
        world.send(handle, OWNER, b"x"),
        Send::Failed(Reason::Closed)
    );
    assert_eq!(world.read_all(handle, OWNER), (b"a".to_vec(), None));
    let number = wait(world.recv(handle, OWNER, 0));
    assert!(
        world
            .trunk
            .shutdown(handle, Direction::Read, &mut world.sink)
    );
    world.trunk.audit();
    assert_eq!(world.wakes(), [(OWNER, number)]);
    world.say(1, b"dropped");
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Failed(Reason::Closed));
    assert_eq!(world.take_all(), [], "the peer is told by the close");
    world.close(handle);
    assert_eq!(world.take_all(), [Heard::Close(1)]);
}

#[test]
fn statistics_count_pieces_and_bytes() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"abc");
    world.say(1, b"defgh");
    world.send(handle, OWNER, b"xy");
    let statistics = world.trunk.statistics(handle).unwrap();
    let traffic = |bytes, count, largest| crate::Traffic {
        bytes,
        count,
        largest,
    };
    assert_eq!(statistics.received, traffic(8, 2, 5));
    assert_eq!(statistics.sent, traffic(2, 1, 2));
    assert_eq!(statistics.pending, 0);
}

/// The content of what the peer heard, all of it for connection `n`.
pub(crate) fn data_of(n: u64) -> impl Fn(Heard) -> Vec<u8> {
    move |heard| match heard {
        Heard::Data(to, data) if to == n => data,
        other => panic!("connection {n} alone has output, not {other:?}"),
    }
}

const HEIR: u32 = 77;

/// Gives a connection to another process as soon as somebody is woken.
struct GivesAway<'a> {
    trunk: &'a Trunk<u32>,
    handle: Handle,
    heir: u32,
    monitors: Recorder,
}

impl Sink<u32> for GivesAway<'_> {
    fn wake(&mut self, _: u32, _: u64) {
        assert!(self.trunk.own(self.handle, self.heir, &mut self.monitors));
    }

    fn deliver(&mut self, _: u32, _: Handle, _: Delivery<'_>) {}
}

impl Monitor<u32> for GivesAway<'_> {
    fn monitor(&mut self, process: u32) -> bool {
        self.monitors.monitor(process)
    }
}

#[test]
fn a_process_that_becomes_the_owner_during_its_own_send_closes_by_its_death() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    let mut sink = GivesAway {
        trunk: &world.trunk,
        handle,
        heir: HEIR,
        monitors: Recorder::default(),
    };
    // Its bytes wake the writer: after the look at who owns the connection, before its end.
    let sent = world.trunk.send(handle, HEIR, b"x", &mut sink);
    assert_eq!(sent, Send::Done);
    assert_eq!(sink.monitors.monitored, BTreeSet::from([HEIR]));
    assert_eq!(world.trunk.owner(handle), Some(HEIR));
    world.trunk.down(HEIR, &mut world.sink);
    assert_eq!(world.trunk.owner(handle), None);
    world.trunk.audit();
}
