//! Active sockets: input as messages.

use super::*;
use crate::options::{Line, Mode};

fn data(bytes: &[u8]) -> Told {
    Told::Data(bytes.to_vec())
}

#[test]
fn once_is_one_message() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    world.set_active(handle, Active::Once);
    assert_eq!(world.told(), [data(b"a")], "what was there already");
    world.say(1, b"b");
    world.say(1, b"c");
    assert_eq!(world.told(), []);
    world.set_active(handle, Active::Once);
    assert_eq!(world.told(), [data(b"bc")]);
    world.set_active(handle, Active::Once);
    assert_eq!(world.told(), []);
    world.say(1, b"d");
    assert_eq!(world.told(), [data(b"d")]);
    wait(world.recv(handle, OWNER, 1));
}

#[test]
fn always_is_a_message_for_all_that_comes() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    world.set_active(handle, Active::Always);
    world.say(1, b"b");
    world.say(1, b"c");
    assert_eq!(world.told(), [data(b"a"), data(b"b"), data(b"c")]);
    world.set_active(handle, Active::Passive);
    world.say(1, b"d");
    assert_eq!(world.told(), []);
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Taken(b"d".to_vec()));
}

#[test]
fn a_count_ends_with_tcp_passive() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    world.activate(handle, ActiveChange::Add(3)).unwrap();
    for bytes in [b"b", b"c", b"d"] {
        world.say(1, bytes);
    }
    let expected = [data(b"a"), data(b"b"), data(b"c"), Told::Passive];
    assert_eq!(world.told(), expected);
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Taken(b"d".to_vec()));
    world.activate(handle, ActiveChange::Add(5)).unwrap();
    world.activate(handle, ActiveChange::Add(-5)).unwrap();
    assert_eq!(world.told(), [Told::Passive]);
    assert_eq!(
        world.activate(handle, ActiveChange::Add(40_000)),
        Err(Reason::Invalid)
    );
}

#[test]
fn a_close_is_told_after_the_data_and_the_socket_closes_itself() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    world.say(1, b"");
    world.set_active(handle, Active::Always);
    assert_eq!(world.told(), [data(b"a"), Told::Closed]);
    assert_eq!(world.trunk.owner(handle), None);
    world.die(OWNER);
    assert_eq!(world.told(), []);
    world.assert_empty();
}

#[test]
fn a_once_that_was_used_up_hears_of_the_close_by_the_next() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    world.set_active(handle, Active::Once);
    world.say(1, b"");
    assert_eq!(world.told(), [data(b"a")]);
    assert!(world.trunk.owner(handle).is_some());
    world.set_active(handle, Active::Once);
    assert_eq!(world.told(), [Told::Closed]);
    world.assert_empty();
}

#[test]
fn a_large_input_comes_in_pieces() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, &[3; 300_000]);
    world.set_active(handle, Active::Always);
    let sizes: Vec<_> = world
        .told()
        .into_iter()
        .map(|told| match told {
            Told::Data(bytes) => bytes.len(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sizes, [128 << 10, 128 << 10, 300_000 - (256 << 10)]);
}

#[test]
fn packets_are_messages_too() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"GET / HTTP/1.1\r\nHost: a.example\r\n");
    let mode = Mode::Http {
        line: Line::Start,
        text: crate::sink::Text::List,
    };
    let changes = [
        Change::Mode(mode),
        Change::Active(ActiveChange::To(Active::Always)),
    ];
    world
        .trunk
        .set_options(handle, &changes, &mut world.sink)
        .unwrap();
    world.say(1, b"\r\n");
    let told = world.told();
    let [Told::Packet(request), Told::Packet(host), Told::Packet(end)] = &told[..] else {
        panic!("{told:?}")
    };
    assert!(request.contains("GET") && host.contains("a.example") && end == "end");
}

#[test]
fn activation_takes_the_data_from_a_reader_that_waits() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    let number = wait(world.recv(handle, OWNER + 1, 2));
    world.set_active(handle, Active::Always);
    assert_eq!(world.wakes(), [(OWNER + 1, number)]);
    assert_eq!(
        world.recv(handle, OWNER + 1, 2),
        Recv::Failed(Reason::Invalid)
    );
    world.say(1, b"b");
    assert_eq!(world.told(), [data(b"a"), data(b"b")]);
}

#[test]
fn messages_go_to_the_owner_of_the_moment() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    world.set_active(handle, Active::Always);
    world.own(handle, OWNER + 1);
    world.say(1, b"b");
    let to: Vec<_> = world.sink.told.iter().map(|(to, _, _)| *to).collect();
    assert_eq!(to, [OWNER, OWNER + 1]);
}
