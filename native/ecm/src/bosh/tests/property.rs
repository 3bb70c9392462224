//! A client that opens, sends, repeats, reorders, delays and drops requests on several connections,
//! against a session: each stanza in both directions exactly once and in order, no request unanswered
//! past its wait.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const FIRST: u64 = 100;

#[derive(Debug, Clone, Copy)]
struct Setup {
    wait: u32,
    hold: u32,
    acks: bool,
    keys: bool,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    /// The client sends a new request with so many stanzas.
    Send(u32),
    /// One of the requests under way arrives.
    Arrive(usize),
    /// The client repeats a request that it has no answer to.
    Repeat(usize),
    /// A connection breaks, wherever its request or answer is.
    Break(usize),
    /// An answer arrives at the client.
    Deliver(usize),
    /// ejabberd sends so many stanzas.
    Says(u32),
    Shut,
    Open,
    Pass(u64),
}

fn setups() -> impl Strategy<Value = Setup> {
    (
        prop_oneof![Just(0_u32), Just(5), Just(60)],
        0_u32..3,
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(wait, hold, acks, keys)| Setup {
            wait,
            hold,
            acks,
            keys,
        })
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        5 => (0_u32..3).prop_map(Action::Send),
        6 => (0_usize..8).prop_map(Action::Arrive),
        2 => (0_usize..4).prop_map(Action::Repeat),
        2 => (0_usize..8).prop_map(Action::Break),
        6 => (0_usize..8).prop_map(Action::Deliver),
        4 => (1_u32..4).prop_map(Action::Says),
        1 => Just(Action::Shut),
        2 => Just(Action::Open),
        2 => (1_u64..20_000).prop_map(Action::Pass),
    ];
    proptest::collection::vec(action, 1..150)
}

/// One copy of a request, on a connection of its own.
#[derive(Debug)]
struct Copy {
    rid: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    ToSession,
    Held(Instant),
    ToClient(Answer),
}

struct Client {
    setup: Setup,
    world: World,
    /// Each request that was made: its attributes and its payload.
    made: BTreeMap<u64, (String, String)>,
    /// The answers that the client has.
    answers: BTreeMap<u64, Answer>,
    copies: Vec<Copy>,
    /// The requests that the session has seen.
    arrived: Vec<u64>,
    /// The keys, the next one last.
    keys: Vec<String>,
    next: u64,
    requests: u64,
    sent: u32,
    said: u32,
}

impl Client {
    fn new(setup: Setup) -> Self {
        let mut keys = vec!["seed".to_owned()];
        for _ in 0..250 {
            let key = super::order::key(&keys[keys.len() - 1], 1);
            keys.push(key);
        }
        let mut attributes = format!(
            "to='a' ver='1.11' xmpp:version='1.0' wait='{}' hold='{}'",
            setup.wait, setup.hold
        );
        if setup.acks {
            attributes += " ack='1'";
        }
        if setup.keys {
            attributes += &format!(" newkey='{}'", keys.pop().unwrap());
        }
        let mut world = create_with(&attributes);
        world.says(&[OPEN, FEATURES]);
        let answer = world.fetch(FIRST).unwrap();
        let requests = attribute(&text(&answer), "requests").unwrap();
        world.ejabberd.taken.clear();
        Self {
            setup,
            world,
            made: BTreeMap::new(),
            answers: BTreeMap::from([(FIRST, answer)]),
            copies: Vec::new(),
            arrived: vec![FIRST],
            keys,
            next: FIRST + 1,
            requests: requests.parse().unwrap(),
            sent: 0,
            said: 0,
        }
    }

    fn act(&mut self, action: Action) {
        let copies = self.copies.len();
        match action {
            Action::Send(stanzas) => self.send(stanzas),
            Action::Arrive(index) => {
                let under_way = |copy: &&mut Copy| matches!(copy.place, Place::ToSession);
                let count = self.copies.iter_mut().filter(under_way).count();
                if count > 0
                    && let Some(copy) = self.copies.iter_mut().filter(under_way).nth(index % count)
                {
                    copy.place = Place::Held(self.world.now);
                    let rid = copy.rid;
                    self.arrive(rid);
                }
            }
            Action::Repeat(index) => {
                let open: Vec<u64> = self.unanswered().collect();
                if !open.is_empty() {
                    self.copies.push(Copy {
                        rid: open[index % open.len()],
                        place: Place::ToSession,
                    });
                }
            }
            Action::Break(index) => {
                if copies > 0 {
                    let copy = self.copies.remove(index % copies);
                    if let Place::Held(_) = copy.place {
                        self.world.session.abandon(copy.rid, self.world.now);
                        self.world.pump();
                    }
                }
            }
            Action::Deliver(index) => {
                let ready = |copy: &Copy| matches!(copy.place, Place::ToClient(_));
                let places: Vec<usize> = (0..copies).filter(|n| ready(&self.copies[*n])).collect();
                if !places.is_empty() {
                    self.deliver(places[index % places.len()]);
                }
            }
            Action::Says(stanzas) => {
                for _ in 0..stanzas {
                    self.said += 1;
                    let stanza = message(self.said);
                    self.world.ejabberd.coming.push_back(stanza);
                }
                self.world.pump();
            }
            Action::Shut => self.world.ejabberd.window = Window::Shut,
            Action::Open => {
                self.world.ejabberd.window = Window::Open;
                self.world.pump();
            }
            Action::Pass(millis) => {
                let mut time = Duration::from_millis(millis);
                if let Some(inactive) = self.world.session.inactive_at() {
                    time = time.min(inactive - self.world.now - Duration::from_millis(1));
                }
                self.world.pass(time);
            }
        }
        self.fetch();
        self.check_waits();
    }

    fn unanswered(&self) -> impl Iterator<Item = u64> + '_ {
        let has = |rid: &u64| !self.answers.contains_key(rid);
        self.made.keys().copied().filter(has)
    }

    fn send(&mut self, stanzas: u32) {
        let rid = self.next;
        // Answers are processed in order: one that is missing holds up all behind it.
        if self
            .unanswered()
            .next()
            .is_some_and(|first| rid - first >= self.requests)
        {
            return;
        }
        self.next += 1;
        let mut attributes = String::new();
        if self.setup.keys {
            attributes += &format!(" key='{}'", self.keys.pop().unwrap());
        }
        let has = (FIRST..)
            .take_while(|rid| self.answers.contains_key(rid))
            .last()
            .unwrap();
        if self.setup.acks && has != rid - 1 {
            attributes += &format!(" ack='{has}'");
        }
        let mut payload = String::new();
        for _ in 0..stanzas {
            self.sent += 1;
            payload += &message(self.sent);
        }
        self.made.insert(rid, (attributes, payload));
        self.copies.push(Copy {
            rid,
            place: Place::ToSession,
        });
    }

    fn arrive(&mut self, rid: u64) {
        self.arrived.push(rid);
        let (attributes, payload) = self.made[&rid].clone();
        if let Taken::Refused(answer) = self.world.request(rid, &attributes, &payload) {
            // Only a copy that was under way for so long that the client has long had the answer.
            assert!(
                self.answers.contains_key(&rid),
                "{rid} was refused: {answer:?}"
            );
            self.copies
                .retain(|copy| copy.rid != rid || !matches!(copy.place, Place::Held(_)));
        }
    }

    /// The connections fetch their answers.
    fn fetch(&mut self) {
        for copy in &mut self.copies {
            if let Place::Held(_) = copy.place
                && let Some(answer) = self.world.session.fetch(copy.rid)
            {
                copy.place = Place::ToClient(answer);
            }
        }
    }

    fn deliver(&mut self, index: usize) {
        let copy = self.copies.remove(index);
        let Place::ToClient(answer) = copy.place else {
            return;
        };
        assert_eq!(attribute(&text(&answer), "type"), None, "{}", text(&answer));
        if let Some(before) = self.answers.get(&copy.rid) {
            assert_eq!(before.body, answer.body, "two answers to {}", copy.rid);
        }
        self.answers.insert(copy.rid, answer);
    }

    fn check_waits(&self) {
        if self.world.ejabberd.window == Window::Shut {
            return;
        }
        for copy in &self.copies {
            let Place::Held(since) = copy.place else {
                continue;
            };
            let due = (FIRST..copy.rid).all(|rid| self.arrived.contains(&rid));
            let held = self.world.now - since;
            let wait = Duration::from_secs(u64::from(self.setup.wait));
            assert!(
                !due || held < wait.max(Duration::from_millis(1)),
                "{copy:?} since {held:?}"
            );
            assert!(
                !due || self.setup.hold > 0 || held.is_zero(),
                "{copy:?} of a poll"
            );
        }
    }

    /// All that is under way arrives, and nothing breaks any more, until both sides have all.
    fn finish(&mut self) {
        self.act(Action::Open);
        for _ in 0..1_000 {
            while self
                .copies
                .iter()
                .any(|copy| matches!(copy.place, Place::ToSession))
            {
                self.act(Action::Arrive(0));
            }
            while self
                .copies
                .iter()
                .any(|copy| matches!(copy.place, Place::ToClient(_)))
            {
                self.act(Action::Deliver(0));
            }
            let waits = |rid: u64| self.copies.iter().any(|copy| copy.rid == rid);
            let missing: Vec<u64> = self.unanswered().filter(|rid| !waits(*rid)).collect();
            if missing.is_empty() {
                if self.received().len() == self.said as usize {
                    break;
                }
                self.send(0);
            }
            for rid in missing {
                self.copies.push(Copy {
                    rid,
                    place: Place::ToSession,
                });
            }
        }
        assert_eq!(
            self.world.taken(),
            (1..=self.sent).map(message).collect::<Vec<_>>()
        );
        assert_eq!(self.received(), (1..=self.said).collect::<Vec<_>>());
    }

    /// The stanzas in the answers, in the order of the requests.
    fn received(&self) -> Vec<u32> {
        let bodies = self.answers.values().map(text);
        bodies
            .flat_map(|body| {
                let ids = body.split("<message xmlns='jabber:client' id='").skip(1);
                ids.map(|rest| rest.split('\'').next().unwrap().parse().unwrap())
                    .collect::<Vec<u32>>()
            })
            .collect()
    }
}

fn create_with(attributes: &str) -> World {
    let policy = Policy {
        min_polling: 0,
        ..POLICY
    };
    let body = body(&format!("rid='{FIRST}' {attributes}"), "");
    let request = Request::read(body.as_bytes(), &Limits::default()).unwrap();
    let now = Instant::now();
    let mut world = World {
        session: BoshSession::create(Sid::random().unwrap(), &request, &policy, now).unwrap(),
        ejabberd: Ejabberd::default(),
        now,
    };
    world.pump();
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]
    #[test]
    fn each_stanza_once_and_in_order_and_each_request_in_time(
        setup in setups(),
        actions in actions(),
    ) {
        let mut client = Client::new(setup);
        for action in actions {
            client.act(action);
        }
        client.finish();
    }
}
