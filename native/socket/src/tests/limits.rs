//! What one peer may hold, how many connections, how long they idle, and how they are let go.

use super::*;

const MAX_BUFFER: usize = 64 << 10;

fn small_buffer() -> Config {
    Config {
        max_trunk_buffer: MAX_BUFFER,
        ..raw()
    }
}

#[test]
fn past_the_trunks_buffer_the_connection_that_holds_most_is_reset() {
    let mut world = World::new(small_buffer());
    let modest = world.open(1, OWNER, &[1; 20 << 10]);
    let greedy = world.open(2, OWNER + 1, &[2; 40 << 10]);
    assert!(world.trunk.is_open(greedy), "60 of 64 KiB are in use");
    let fed = world.say(1, &[1; 5 << 10]);
    assert_eq!(fed.busy, [OWNER + 1]);
    assert_eq!(world.errors("max_trunk_buffer"), 1);
    assert_eq!(world.take_all(), [Heard::Close(2)]);
    assert_eq!(
        world.recv(greedy, OWNER + 1, 0),
        Recv::Failed(Reason::ConnectionReset)
    );
    assert_eq!(
        world.recv(greedy, OWNER + 1, 0),
        Recv::Failed(Reason::Closed)
    );
    assert_eq!(world.read_all(modest, OWNER), (vec![1; 25 << 10], None));
    world.say(2, b"dropped");
    assert_eq!(world.trunk.status().buffered, 0);
}

#[test]
fn a_reset_frees_a_sixteenth_so_that_the_next_is_not_due_at_once() {
    let mut world = World::new(small_buffer());
    for n in 1..=64 {
        world.open(n, OWNER, &[0; 1 << 10]);
    }
    assert_eq!(world.trunk.status().buffered, MAX_BUFFER);
    world.say(1, b"x");
    assert_eq!(world.errors("max_trunk_buffer"), 4, "4 KiB of 64");
    assert!(world.trunk.status().buffered <= MAX_BUFFER - MAX_BUFFER / 16);
}

#[test]
fn a_connection_that_opens_too_greedy_is_reset_before_it_has_an_owner() {
    let mut world = World::new(small_buffer());
    let fed = world.say(1, &[0; 100 << 10]);
    let handle = fed.opened[0].0;
    assert_eq!(fed.busy, [], "the reader is nobody's owner to look after");
    assert!(world.own(handle, OWNER));
    assert_eq!(
        world.recv(handle, OWNER, 0),
        Recv::Failed(Reason::ConnectionReset)
    );
    world.die(OWNER);
    world.assert_empty();
}

#[test]
fn an_active_owner_takes_its_input_before_it_counts() {
    let mut world = World::new(small_buffer());
    let handle = world.open(1, OWNER, b"a");
    world.set_active(handle, Active::Always);
    world.say(1, &[0; 100 << 10]);
    assert!(world.trunk.is_open(handle));
    assert_eq!(world.trunk.status().buffered, 0);
}

#[test]
fn a_connection_above_the_limit_gets_503_and_a_close() {
    let mut world = World::new(Config {
        max_connections: 2,
        ..Config::default()
    });
    let request = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let [first, _] = [1, 2].map(|n| world.open(n, OWNER, request));
    assert!(world.say(3, request).opened.is_empty());
    let heard = world.take_all();
    let [Heard::Data(3, answer), Heard::Close(3)] = &heard[..] else {
        panic!("{heard:?}")
    };
    let answer = String::from_utf8(answer.clone()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let length = format!("\r\nContent-Length: {}\r\n", body.len());
    assert!(head.contains(&length), "{answer}");
    assert!(head.contains("\r\nRetry-After: "), "{answer}");
    assert_eq!(world.errors("max_connections"), 1);
    world.say(3, request);
    assert_eq!(world.take_all(), [], "its later frames are dropped");
    assert_eq!(world.errors("max_connections"), 1);
    world.close(first);
    world.say(3, b"");
    assert_eq!(world.say(3, request).opened.len(), 1, "there is room again");
}

#[test]
fn a_raw_connection_above_the_limit_gets_a_close_alone() {
    let mut world = World::new(Config {
        max_connections: 0,
        ..raw()
    });
    assert!(world.say(1, b"hello").opened.is_empty());
    assert_eq!(world.take_all(), [Heard::Close(1)]);
}

#[test]
fn refused_ids_take_no_more_memory_than_twice_the_limit() {
    let mut world = World::new(Config {
        max_connections: 10,
        ..Config::default()
    });
    for n in 0..1000 {
        world.say(n, b"GET / HTTP/1.1\r\n");
    }
    let holdings = world.trunk.audit();
    assert_eq!((holdings.connections, holdings.names), (10, 20));
}

#[test]
fn answers_to_refused_connections_do_not_pile_up() {
    let mut world = World::new(Config {
        max_connections: 0,
        ..Config::default()
    });
    for n in 0..10_000 {
        world.say(n, b"x");
    }
    let heard = world.take(1);
    let bytes: usize = heard
        .iter()
        .map(|heard| match heard {
            Heard::Data(_, data) => 32 + data.len(),
            Heard::Close(_) => 32,
        })
        .sum();
    assert!(bytes < 65 << 10, "{bytes} bytes wait for the writer");
}

#[test]
fn an_idle_connection_is_closed_when_its_time_has_passed() {
    let mut world = World::new(Config {
        idle_timeout: Some(Duration::from_secs(60)),
        ..raw()
    });
    let idle = world.open(1, OWNER, b"a");
    let talker = world.open(2, OWNER + 1, b"b");
    let listener = world.open(3, OWNER + 2, b"c");
    world.read_all(idle, OWNER);
    let number = wait(world.recv(idle, OWNER, 0));
    assert_eq!(world.pass(59), []);
    world.say(2, b"still here");
    world.send(listener, OWNER + 2, b"so am I");
    world.take_all();
    assert_eq!(world.pass(1), [], "who waits in recv is not busy");
    assert_eq!(world.wakes(), [(OWNER, number)]);
    assert_eq!(world.recv(idle, OWNER, 0), Recv::Failed(Reason::Closed));
    assert_eq!(world.take_all(), [Heard::Close(1)]);
    assert_eq!(world.errors("idle_timeout"), 1);
    assert!(world.trunk.is_open(talker) && world.trunk.is_open(listener));
    world.close(idle);
    assert_eq!(
        BTreeSet::from_iter(world.pass(60)),
        BTreeSet::from([OWNER + 1, OWNER + 2]),
        "these are at work"
    );
}

#[test]
fn the_writer_is_told_of_an_idle_close_among_busy_connections() {
    let mut world = World::new(raw());
    // Some are behind the idle one in its shard.
    for n in 0..200 {
        world.open(n, OWNER, b"a");
    }
    world.pass(599);
    for n in 1..200 {
        world.say(n, b"b");
    }
    world.writer_wakes();
    world.pass(1);
    assert_eq!(world.writer_wakes(), 1);
    assert_eq!(world.take_all(), [Heard::Close(0)]);
}

#[test]
fn the_peers_answer_to_an_idle_close_needs_none() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    world.pass(600);
    assert_eq!(world.take_all(), [Heard::Close(1)]);
    world.say(1, b"crossed the close");
    world.say(1, b"");
    assert_eq!(world.take_all(), []);
    assert_eq!(
        world.read_all(handle, OWNER),
        (b"a".to_vec(), Some(Reason::Closed))
    );
    world.close(handle);
    world.assert_empty();
}

#[test]
fn without_an_idle_timeout_connections_stay() {
    let mut world = World::new(Config {
        idle_timeout: None,
        ..raw()
    });
    let handle = world.open(1, OWNER, b"a");
    let closed = world.open(2, OWNER, b"a");
    world.close(closed);
    world.pass(100_000);
    assert!(world.trunk.is_open(handle));
    assert_eq!(
        world.trunk.audit().names,
        1,
        "ended ids are forgotten all the same"
    );
}

#[test]
fn a_drain_refuses_new_connections_and_lets_answers_finish() {
    let mut world = World::new(Config::default());
    let request = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let idle = world.open(1, OWNER, request);
    world.read_all(idle, OWNER);
    world.send(idle, OWNER, answer);
    let working = world.open(2, OWNER + 1, request);
    world.read_all(working, OWNER + 1);
    world.take_all();

    world.trunk.drain(&mut world.sink);
    world.trunk.audit();
    assert_eq!(world.take_all(), [Heard::Close(1)]);
    assert_eq!(world.recv(idle, OWNER, 0), Recv::Failed(Reason::Closed));
    assert_eq!(world.trunk.in_flight(), [OWNER + 1]);

    assert!(world.say(3, request).opened.is_empty());
    assert!(matches!(
        &world.take_all()[..],
        [Heard::Data(3, refusal), Heard::Close(3)] if refusal.starts_with(b"HTTP/1.1 503 ")
    ));
    assert_eq!(world.errors("draining"), 1);

    world.send(working, OWNER + 1, answer);
    assert_eq!(
        world.take_all(),
        [Heard::Data(2, answer.to_vec()), Heard::Close(2)]
    );
    assert_eq!(world.trunk.in_flight(), [] as [u32; 0]);
    for owner in [OWNER, OWNER + 1] {
        world.die(owner);
    }
    world.assert_empty();
}

#[test]
fn a_drained_connection_closes_behind_an_answer_that_had_to_queue() {
    let mut world = World::new(Config::default());
    let handle = world.open(1, OWNER, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    world.read_all(handle, OWNER);
    let length = 600 << 10;
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    let answer = [head.as_bytes(), &vec![b'x'; length]].concat();
    assert_eq!(world.send(handle, OWNER, &answer), Send::Done);
    world.trunk.drain(&mut world.sink);
    assert_eq!(
        world.trunk.in_flight(),
        [OWNER],
        "its answer is not out yet"
    );
    let heard = world.take_all();
    assert_eq!(world.trunk.in_flight(), [] as [u32; 0]);
    assert_eq!(heard.last(), Some(&Heard::Close(1)));
}
