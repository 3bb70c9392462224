//! Waits: none outlives its call, none is forgotten.

use super::*;

#[test]
fn a_cancelled_wait_is_gone() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    let number = wait(world.recv(handle, OWNER, 2));
    assert!(world.trunk.cancel(handle, OWNER, number));
    assert_eq!(world.trunk.status().waiters, 0);
    assert!(!world.trunk.cancel(handle, OWNER, number));
    world.say(1, b"b");
    assert_eq!(world.wakes(), []);
    assert_eq!(world.recv(handle, OWNER, 2), Recv::Taken(b"ab".to_vec()));
}

#[test]
fn a_wait_whose_wake_was_sent_can_not_be_cancelled() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    let number = wait(world.recv(handle, OWNER, 2));
    world.say(1, b"b");
    assert!(!world.trunk.cancel(handle, OWNER, number));
    assert_eq!(world.wakes(), [(OWNER, number)]);
}

#[test]
fn a_wait_of_another_process_ends_with_its_death() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    wait(world.recv(handle, OWNER + 1, 2));
    world.send(handle, OWNER, &vec![0; 600 << 10]);
    send_wait(world.send(handle, OWNER + 2, b"more"));
    assert!(
        world
            .trunk
            .watch(handle, OWNER + 3, &mut world.sink)
            .is_some()
    );
    assert_eq!(world.trunk.status().waiters, 3);
    for process in OWNER + 1..=OWNER + 3 {
        world.die(process);
    }
    assert_eq!(world.trunk.status().waiters, 0);
    assert!(world.trunk.is_open(handle));
    world.say(1, b"b");
    assert_eq!(world.wakes(), []);
    world.die(OWNER);
    world.assert_empty();
}

#[test]
fn an_owners_own_waits_end_with_its_death() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    wait(world.recv(handle, OWNER, 2));
    world.send(handle, OWNER, &vec![0; 600 << 10]);
    send_wait(world.send(handle, OWNER, b"more"));
    world.die(OWNER);
    assert_eq!(
        world.trunk.status().waiters,
        0,
        "though the peer takes nothing"
    );
    world.assert_empty();
}

#[test]
fn a_connection_forgets_the_processes_that_waited_on_it() {
    let mut world = World::new(raw());
    let guest = OWNER + 1;
    for n in 1..=50 {
        let handle = world.open(n, OWNER, b"a");
        let number = wait(world.recv(handle, guest, 2));
        world.close(handle);
        assert!(world.wakes().contains(&(guest, number)));
        assert_eq!(world.recv(handle, guest, 2), Recv::Failed(Reason::Closed));
    }
    assert_eq!(world.trunk.audit().ties, 0, "the guest lives on");
    world.assert_empty();
}

#[test]
fn a_guests_tie_ends_with_its_wait() {
    let mut world = World::new(raw());
    let guest = OWNER + 1;
    let handle = world.open(1, OWNER, b"a");
    let owners = world.trunk.audit().ties;
    let number = wait(world.recv(handle, guest, 2));
    assert_eq!(world.trunk.audit().ties, owners + 1);
    assert!(world.trunk.cancel(handle, guest, number));
    assert_eq!(world.trunk.audit().ties, owners);
    wait(world.recv(handle, guest, 2));
    world.say(1, b"b");
    assert_eq!(world.recv(handle, guest, 2), Recv::Taken(b"ab".to_vec()));
    assert_eq!(world.trunk.audit().ties, owners);
}

#[test]
fn who_watches_hears_of_the_owners_close_and_of_its_death() {
    let mut world = World::new(raw());
    let closed = world.open(1, OWNER, b"a");
    let orphan = world.open(2, OWNER + 1, b"b");
    let guest = OWNER + 2;
    let watch = |world: &mut World, handle| {
        let number = world.trunk.watch(handle, guest, &mut world.sink);
        world.trunk.audit();
        number.unwrap()
    };
    let (first, second) = (watch(&mut world, closed), watch(&mut world, orphan));
    let cancelled = watch(&mut world, closed);
    assert!(world.trunk.cancel(closed, guest, cancelled));
    world.say(1, b"");
    assert_eq!(world.wakes(), [], "the socket is still there");
    world.close(closed);
    assert_eq!(world.wakes(), [(guest, first)]);
    world.die(OWNER + 1);
    assert_eq!(world.wakes(), [(guest, second)]);
    assert_eq!(world.trunk.watch(closed, guest, &mut world.sink), None);
    world.die(guest);
    world.assert_empty();
}

#[test]
fn numbers_of_waits_never_repeat_and_are_never_the_writers() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    let mut seen = BTreeSet::from([crate::sink::WRITER]);
    for _ in 0..1000 {
        let number = wait(world.recv(handle, OWNER, 2));
        assert!(seen.insert(number), "{number} comes twice");
        assert!(world.trunk.cancel(handle, OWNER, number));
    }
}
