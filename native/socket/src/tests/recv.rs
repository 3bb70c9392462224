//! recv: exact lengths, waits, packets.

use super::*;
use crate::options::{Line, Mode};

#[test]
fn a_length_is_given_exactly_wherever_the_frames_are_cut() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"abc");
    world.say(1, b"defgh");
    assert_eq!(world.recv(handle, OWNER, 4), Recv::Taken(b"abcd".to_vec()));
    assert_eq!(world.recv(handle, OWNER, 1), Recv::Taken(b"e".to_vec()));
    let number = wait(world.recv(handle, OWNER, 4));
    assert_eq!(world.wakes(), []);
    world.say(1, b"i");
    assert_eq!(world.wakes(), [(OWNER, number)]);
    assert_eq!(world.recv(handle, OWNER, 4), Recv::Taken(b"fghi".to_vec()));
}

#[test]
fn a_wait_ends_with_the_last_byte_it_needs_and_not_before() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"0");
    let number = wait(world.recv(handle, OWNER, 1000));
    for _ in 1..999 {
        world.say(1, b"x");
        assert_eq!(world.wakes(), []);
    }
    // The last byte comes as a part of a frame that isn't whole.
    let frame = frame(1, b"yz");
    world.feed(&frame[..32]);
    assert_eq!(world.wakes(), []);
    world.feed(&frame[32..33]);
    assert_eq!(world.wakes(), [(OWNER, number)]);
    assert_eq!(world.trunk.status().waiters, 0);
    world.feed(&frame[33..]);
    assert_eq!(world.wakes(), [], "nobody is woken twice");
}

#[test]
fn zero_asks_for_what_there_is_up_to_a_piece() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, &[1; 200_000]);
    assert_eq!(
        world.recv(handle, OWNER, 0),
        Recv::Taken(vec![1; 128 << 10])
    );
    assert_eq!(
        world.recv(handle, OWNER, 0),
        Recv::Taken(vec![1; 200_000 - (128 << 10)])
    );
    wait(world.recv(handle, OWNER, 0));
}

#[test]
fn a_recv_that_can_not_be_is_refused() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    assert_eq!(
        world.recv(handle, OWNER, (64 << 20) + 1),
        Recv::Failed(Reason::NoMemory)
    );
    wait(world.recv(handle, OWNER, 64 << 20));
    assert_eq!(
        world.recv(handle, OWNER + 1, 0),
        Recv::Failed(Reason::Already)
    );
    let other = world.open(2, OWNER, b"b");
    world.set_active(other, Active::Once);
    world.set_active(other, Active::Once);
    assert_eq!(world.recv(other, OWNER, 0), Recv::Failed(Reason::Invalid));
}

#[test]
fn too_few_bytes_before_a_close_are_lost_as_in_gen_tcp() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"abc");
    let number = wait(world.recv(handle, OWNER, 4));
    world.say(1, b"");
    assert_eq!(world.wakes(), [(OWNER, number)]);
    assert_eq!(world.recv(handle, OWNER, 4), Recv::Failed(Reason::Closed));
}

#[test]
fn a_close_by_another_process_ends_the_wait() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    let number = wait(world.recv(handle, OWNER, 2));
    world.close(handle);
    assert_eq!(world.wakes(), [(OWNER, number)]);
    assert_eq!(world.recv(handle, OWNER, 2), Recv::Failed(Reason::Closed));
    world.assert_empty();
}

#[test]
fn packets_are_decoded_one_at_a_time() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"GET /a HTTP/1.1\r\nHost: b");
    let mode = Mode::Http {
        line: Line::Start,
        text: crate::sink::Text::Binary,
    };
    world
        .trunk
        .set_options(handle, &[Change::Mode(mode)], &mut world.sink)
        .unwrap();
    let recv = |world: &mut World| match world.recv(handle, OWNER, 0) {
        Recv::Taken(text) => String::from_utf8(text).unwrap(),
        other => panic!("{other:?}"),
    };
    assert!(recv(&mut world).contains("GET"), "the request line");
    let number = wait(world.recv(handle, OWNER, 0));
    world.say(1, b".example\r\n");
    // A header may go on in the next line: only another byte says that it is whole.
    let retried = world.wakes();
    assert_eq!(retried, [(OWNER, number)], "there is more to look at");
    let number = wait(world.recv(handle, OWNER, 0));
    world.say(1, b"\r\nGET");
    assert_eq!(world.wakes(), [(OWNER, number)]);
    assert!(recv(&mut world).contains("b.example"));
    assert_eq!(recv(&mut world), "end");
    wait(world.recv(handle, OWNER, 0));
    assert_eq!(
        world.trunk.options(handle).unwrap().mode,
        mode,
        "the next request's line is due"
    );
}

#[test]
fn what_was_decoded_in_one_mode_is_not_given_in_another() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"GET / HTTP/1.1\r\n\r\nbody");
    let mode = Mode::Http {
        line: Line::Start,
        text: crate::sink::Text::Binary,
    };
    let set = |world: &mut World, mode| {
        let changes = [Change::Mode(mode)];
        world
            .trunk
            .set_options(handle, &changes, &mut world.sink)
            .unwrap();
    };
    set(&mut world, mode);
    assert!(matches!(world.recv(handle, OWNER, 0), Recv::Taken(_)));
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Taken(b"end".to_vec()));
    set(&mut world, Mode::Raw);
    assert_eq!(world.recv(handle, OWNER, 0), Recv::Taken(b"body".to_vec()));
}
