//! The examples of doc/protocol.md: what each says its bytes mean is what is read, and what is written of that
//! meaning is its bytes.
//!
//! An example is a fenced block whose first word says what it is. Above its line `---` are the bytes, below it
//! what they mean, a line each.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;

use bytes::Bytes;
use megaphone_trunk::proxy::{self, Addresses, ChannelBindings, Command, Header, Tls, Transport};
use megaphone_trunk::v1::{self, ConnectionId, Decoder, FramePart, MaxFrameSize};
use megaphone_trunk::v2::{
    self, Ceiling, Ceilings, Config, Flags, FrameType, HEADER_LEN, Session, StreamId,
};
use megaphone_xmpp::framing::{
    Control, Messages, is_control, put_control, put_given_back, put_message, read_control,
};

const DOCUMENT: &str = include_str!("../../../doc/protocol.md");
/// The silence after which a session sends a ping, in milliseconds.
const SILENCE: u64 = 30_000;

/// An example, in lines.
struct Example {
    place: String,
    bytes: Vec<&'static str>,
    meaning: Vec<&'static str>,
}

/// All examples of a kind; there is at least one.
fn examples(kind: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut lines = DOCUMENT.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        if line != format!("```{kind}") {
            continue;
        }
        let block = lines.by_ref().map(|(_, line)| line);
        let block: Vec<_> = block.take_while(|line| *line != "```").collect();
        let rule = block.iter().position(|line| *line == "---");
        let (bytes, meaning) = block.split_at(rule.expect("an example has a line ---"));
        examples.push(Example {
            place: format!("doc/protocol.md, line {}", number + 1),
            bytes: bytes.to_vec(),
            meaning: meaning[1..].to_vec(),
        });
    }
    assert!(!examples.is_empty(), "no example of {kind}");
    examples
}

impl Example {
    /// Its bytes, written in hexadecimal with comments.
    fn hex(&self) -> Vec<u8> {
        let code = self.bytes.iter().flat_map(|line| line.split('#').next());
        of_hex(&code.flat_map(str::split_whitespace).collect::<String>())
    }

    /// Its bytes, written as text: a frame a line.
    fn text(&self) -> Vec<u8> {
        let frames = self.bytes.iter().map(|line| unescaped(line));
        frames.collect::<Vec<_>>().concat().into_bytes()
    }
}

fn of_hex(digits: &str) -> Vec<u8> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    pairs.map(byte).collect()
}

fn in_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unescaped(text: &str) -> String {
    text.replace("\\r", "\r").replace("\\n", "\n")
}

fn escaped(text: &[u8]) -> String {
    let text = str::from_utf8(text).unwrap();
    text.replace('\r', "\\r").replace('\n', "\\n")
}

#[test]
fn frames_of_version_1() {
    for example in examples("v1") {
        let bytes = example.text();
        let mut decoder = Decoder::new(MaxFrameSize::DEFAULT);
        let events = decoder.decode(&bytes).map(|event| match event.unwrap() {
            v1::Event::Content { id, bytes, part } => {
                assert_eq!(part, FramePart::Last);
                format!("content {id} {}", escaped(bytes))
            }
            v1::Event::Close { id } => format!("close {id}"),
        });
        let read: Vec<_> = events.collect();
        assert_eq!(read, example.meaning, "{}", example.place);

        let mut written = Vec::new();
        for line in &example.meaning {
            let mut words = line.splitn(3, ' ');
            let kind = words.next().unwrap();
            let id = ConnectionId::try_from(words.next().unwrap().as_bytes()).unwrap();
            match (kind, words.next()) {
                ("content", Some(content)) => {
                    v1::put_frame(&mut written, &id, unescaped(content).as_bytes()).unwrap();
                }
                ("close", None) => v1::put_close(&mut written, &id),
                _ => panic!("{line}"),
            }
        }
        assert_eq!(written, bytes, "{}", example.place);
    }
}

#[test]
fn what_is_refused_of_version_1() {
    for example in examples("v1-refused") {
        let bytes = example.text();
        let mut decoder = Decoder::new(MaxFrameSize::DEFAULT);
        let error = decoder.decode(&bytes).find_map(Result::err);
        let error = error.unwrap_or_else(|| panic!("{} is taken", example.place));
        let read = format!("{} at {}", error.fault.name(), error.offset);
        assert_eq!([read.as_str()], example.meaning[..], "{}", example.place);
    }
}

const FLAGS: [(Flags, &str); 4] = [
    (Flags::SYN, "SYN"),
    (Flags::ACK, "ACK"),
    (Flags::FIN, "FIN"),
    (Flags::RST, "RST"),
];

const KINDS: [(FrameType, &str); 4] = [
    (FrameType::Data, "data"),
    (FrameType::WindowUpdate, "window-update"),
    (FrameType::Ping, "ping"),
    (FrameType::GoAway, "go-away"),
];

/// Frames in words: `data 1 SYN+FIN "text"`, `window-update 1 - 1024`.
fn frames_in_words(mut bytes: &[u8]) -> Vec<String> {
    let mut words = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() {
        let header = v2::Header::decode(header).unwrap();
        let (_, kind) = KINDS[header.kind as usize];
        let flags = FLAGS.iter().filter(|(flag, _)| header.flags.has(*flag));
        let flags: Vec<_> = flags.map(|(_, name)| *name).collect();
        let flags = if flags.is_empty() {
            "-".to_owned()
        } else {
            flags.join("+")
        };
        let (last, rest) = match header.kind {
            FrameType::Data => {
                let (data, rest) = rest.split_at(header.length as usize);
                (format!("{:?}", str::from_utf8(data).unwrap()), rest)
            }
            _ => (header.length.to_string(), rest),
        };
        words.push(format!("{kind} {} {flags} {last}", header.stream));
        bytes = rest;
    }
    assert!(bytes.is_empty(), "the last frame is not whole");
    words
}

fn frames_of_words(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        let words: Vec<_> = line.splitn(4, ' ').collect();
        let [kind, stream, flags, last] = words[..] else {
            panic!("{line}");
        };
        let (kind, _) = *KINDS.iter().find(|(_, name)| *name == kind).unwrap();
        let flags = FLAGS
            .iter()
            .filter(|(_, name)| flags.split('+').any(|flag| flag == *name))
            .fold(Flags::NONE, |all, (flag, _)| all.with(*flag));
        let data = match kind {
            FrameType::Data => last.trim_matches('"').as_bytes(),
            _ => b"",
        };
        let length = match kind {
            FrameType::Data => u32::try_from(data.len()).unwrap(),
            _ => last.parse().unwrap(),
        };
        let stream = StreamId::new(stream.parse().unwrap());
        let header = v2::Header {
            kind,
            flags,
            stream,
            length,
        };
        bytes.extend_from_slice(&header.encode());
        bytes.extend_from_slice(data);
    }
    bytes
}

#[test]
fn frames_of_version_2() {
    for example in examples("yamux") {
        let bytes = example.hex();
        assert_eq!(
            frames_in_words(&bytes),
            example.meaning,
            "{}",
            example.place
        );
        assert_eq!(
            frames_of_words(&example.meaning),
            bytes,
            "{}",
            example.place
        );
    }
}

#[test]
fn what_is_refused_of_version_2() {
    for example in examples("yamux-refused") {
        let mut session = Session::server(Config::default(), 0);
        let received = session.receive(&example.hex(), &mut |_: v2::Event<'_>| {});
        let error = received.expect_err(&example.place);
        let read = format!("{} at {}", error.fault.name(), error.offset);
        assert_eq!([read.as_str()], example.meaning[..], "{}", example.place);
    }
}

/// A header in lines: `command: PROXY`, `alpn: http/1.1`.
fn header_in_words(header: &Header) -> Vec<String> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let command = match header.command {
        Command::Local => "LOCAL",
        Command::Proxy => "PROXY",
    };
    let ends = match &header.addresses {
        Addresses::Unspecified => None,
        Addresses::Inet {
            source,
            destination,
        } => Some((source, destination)),
        Addresses::Unix { .. } => panic!("no example has them"),
    };
    let tls = header.tls.as_ref();
    let ChannelBindings {
        exporter,
        end_point,
        unique,
    } = &header.bindings;
    let of_tls = |field: fn(&Tls) -> &Option<String>| tls.and_then(|tls| field(tls).clone());
    let lines = [
        ("command", Some(command.to_owned())),
        ("source", ends.map(|(source, _)| source.to_string())),
        ("destination", ends.map(|(_, to)| to.to_string())),
        ("alpn", header.alpn.as_ref().map(text)),
        ("authority", header.authority.clone()),
        ("unique id", header.unique_id.as_ref().map(text)),
        (
            "tls verified",
            tls.filter(|tls| tls.verified).map(|_| "yes".to_owned()),
        ),
        ("tls version", of_tls(|tls| &tls.version)),
        ("tls common name", of_tls(|tls| &tls.common_name)),
        ("tls cipher", of_tls(|tls| &tls.cipher)),
        (
            "tls signature algorithm",
            of_tls(|tls| &tls.signature_algorithm),
        ),
        ("tls key algorithm", of_tls(|tls| &tls.key_algorithm)),
        (
            "tls certificate",
            tls.and_then(|tls| tls.certificate.as_deref()).map(in_hex),
        ),
        (
            "tls",
            tls.filter(|tls| **tls == Tls::default())
                .map(|_| "yes".to_owned()),
        ),
        ("transport", header.transport.map(|it| it.name().to_owned())),
        ("tls-exporter", exporter.as_ref().map(|it| in_hex(it))),
        (
            "tls-server-end-point",
            end_point.as_ref().map(|it| in_hex(it)),
        ),
        ("tls-unique", unique.as_ref().map(|it| in_hex(it))),
        (
            "http fields",
            header.fields.as_ref().map(|fields| escaped(fields)),
        ),
        (
            "takeover",
            header.takeover.as_deref().map(|token| match token {
                [] => "?".to_owned(),
                _ => in_hex(token),
            }),
        ),
    ];
    let said = lines.into_iter();
    said.filter_map(|(name, value)| Some(format!("{name}: {}", value?)))
        .collect()
}

fn header_of_words(lines: &[&str]) -> Header {
    let find = |wanted: &str| {
        let parts = lines.iter().filter_map(|line| line.split_once(": "));
        let mut found = parts.filter(|(name, _)| *name == wanted);
        found.next().map(|(_, value)| value.to_owned())
    };
    let address = |name| find(name).map(|text| text.parse::<SocketAddr>().unwrap());
    let has_tls = lines
        .iter()
        .any(|line| line.starts_with("tls ") || *line == "tls: yes");
    let bytes = |name| find(name).map(|text| of_hex(&text));
    Header {
        command: match find("command").as_deref() {
            Some("LOCAL") => Command::Local,
            Some("PROXY") => Command::Proxy,
            other => panic!("{other:?}"),
        },
        addresses: match (address("source"), address("destination")) {
            (Some(source), Some(destination)) => Addresses::Inet {
                source,
                destination,
            },
            _ => Addresses::Unspecified,
        },
        alpn: find("alpn").map(Bytes::from),
        authority: find("authority"),
        unique_id: find("unique id").map(Bytes::from),
        tls: has_tls.then(|| Tls {
            version: find("tls version"),
            common_name: find("tls common name"),
            cipher: find("tls cipher"),
            signature_algorithm: find("tls signature algorithm"),
            key_algorithm: find("tls key algorithm"),
            verified: find("tls verified").is_some(),
            certificate: bytes("tls certificate").map(Bytes::from),
        }),
        transport: find("transport").map(|name| transport(&name)),
        bindings: ChannelBindings {
            exporter: bytes("tls-exporter").map(|it| it.try_into().unwrap()),
            end_point: bytes("tls-server-end-point").map(Bytes::from),
            unique: bytes("tls-unique").map(|it| it.try_into().unwrap()),
        },
        fields: find("http fields").map(|fields| Bytes::from(unescaped(&fields))),
        takeover: match find("takeover").as_deref() {
            Some("?") => Some(Bytes::new()),
            _ => bytes("takeover").map(Bytes::from),
        },
    }
}

const TRANSPORTS: [Transport; 4] = [
    Transport::Tcp,
    Transport::Tls,
    Transport::WebSocket,
    Transport::Bosh,
];

fn transport(name: &str) -> Transport {
    let found = TRANSPORTS.into_iter().find(|it| it.name() == name);
    found.unwrap_or_else(|| panic!("{name}"))
}

fn read_header(example: &Example) -> Header {
    let bytes = example.hex();
    let read = proxy::read(&bytes);
    let read = read.unwrap_or_else(|error| panic!("{}: {error}", example.place));
    let (header, length) = read.expect(&example.place);
    assert_eq!(length, bytes.len(), "{}", example.place);
    header
}

#[test]
fn proxy_headers() {
    for example in examples("proxy") {
        let read = header_in_words(&read_header(&example));
        assert_eq!(read, example.meaning, "{}", example.place);
        let mut written = Vec::new();
        proxy::write(&header_of_words(&example.meaning), &mut written);
        assert_eq!(written, example.hex(), "{}", example.place);
    }
    for example in examples("proxy-read") {
        let read = header_in_words(&read_header(&example));
        assert_eq!(read, example.meaning, "{}", example.place);
    }
}

#[test]
fn what_is_refused_of_proxy_headers() {
    for example in examples("proxy-refused") {
        let error = proxy::read(&example.hex()).expect_err(&example.place);
        assert_eq!([error.name()], example.meaning[..], "{}", example.place);
    }
}

/// The first bit of a message's length.
const GIVEN_BACK: u32 = 1 << 31;

fn messages_in_words(mut bytes: &[u8]) -> Vec<String> {
    let mut words = Vec::new();
    while let Some((prefix, rest)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*prefix);
        if is_control(length) {
            let (control, taken) = read_control(bytes).unwrap().expect("a whole message");
            words.push(control_in_words(&control));
            bytes = &bytes[taken..];
        } else if length < GIVEN_BACK {
            let mut messages = Messages::new(usize::MAX);
            let document = messages.read(&mut bytes).unwrap().expect("a whole message");
            words.push(format!("document {}", str::from_utf8(document).unwrap()));
        } else {
            let (document, rest) = rest.split_at((length - GIVEN_BACK) as usize);
            let text = format!("given-back {}", str::from_utf8(document).unwrap());
            words.push(text.trim_end().to_owned());
            bytes = rest;
        }
    }
    assert!(bytes.is_empty(), "the last message is not whole");
    words
}

fn control_in_words(control: &Control<'_>) -> String {
    match control {
        Control::Mark => "mark".to_owned(),
        Control::Stay => "stay".to_owned(),
        Control::Go => "go".to_owned(),
        Control::Token(token) => format!("token {}", in_hex(token)),
        Control::Stays(why) => format!("stays {why}"),
        Control::Moved => "moved".to_owned(),
        Control::Refused(why) => format!("refused {why}"),
        Control::Version(version) => format!("version {version}"),
    }
}

fn put_control_of_words(out: &mut Vec<u8>, line: &str) {
    let (kind, text) = line.split_once(' ').unwrap_or((line, ""));
    let token = match kind {
        "token" => of_hex(text),
        _ => Vec::new(),
    };
    let control = match kind {
        "mark" => Control::Mark,
        "stay" => Control::Stay,
        "go" => Control::Go,
        "token" => Control::Token(&token),
        "stays" => Control::Stays(text),
        "moved" => Control::Moved,
        "refused" => Control::Refused(text),
        "version" => Control::Version(text),
        _ => panic!("{line}"),
    };
    put_control(out, &control).unwrap();
}

fn messages_of_words(lines: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        match line.split_once(' ') {
            Some(("document", text)) => put_message(&mut bytes, text.as_bytes()).unwrap(),
            Some(("given-back", text)) => put_given_back(&mut bytes, text.as_bytes()).unwrap(),
            None if *line == "given-back" => put_given_back(&mut bytes, b"").unwrap(),
            _ => put_control_of_words(&mut bytes, line),
        }
    }
    bytes
}

#[test]
fn messages_of_sessions() {
    for example in examples("messages") {
        let bytes = example.hex();
        assert_eq!(
            messages_in_words(&bytes),
            example.meaning,
            "{}",
            example.place
        );
        assert_eq!(
            messages_of_words(&example.meaning),
            bytes,
            "{}",
            example.place
        );
    }
}

/// The example is what our own client says, and what our own server answers.
#[test]
fn a_whole_beginning() {
    let [example] = &examples("trunk")[..] else {
        panic!("more than one");
    };
    let [ping, stream, words @ ..] = &example.meaning[..] else {
        panic!("{}", example.place);
    };
    assert_eq!([*ping, *stream], ["ping 0", "stream 1"]);
    let (header, messages): (Vec<_>, Vec<_>) = words
        .iter()
        .partition(|line| !line.starts_with("document "));

    let mut first = Vec::new();
    proxy::write(&header_of_words(&header), &mut first);
    let length = first.len();
    first.extend(messages_of_words(&messages));
    let mut ecm = Session::client(Config::default(), 0);
    ecm.tick(SILENCE).unwrap();
    let _ = ecm.open(0, &first).unwrap();
    assert_eq!(output(&mut ecm), example.hex(), "{}", example.place);

    let (read, taken) = proxy::read(&first).unwrap().unwrap();
    assert_eq!((header_in_words(&read), taken), (owned(&header), length));
    assert_eq!(messages_in_words(&first[length..]), messages);

    let mut ejabberd = Session::server(Config::default(), 0);
    let mut data = Vec::new();
    let mut keep = |event: v2::Event<'_>| {
        if let v2::Event::Data { bytes, .. } = event {
            data.extend_from_slice(bytes);
        }
    };
    ejabberd.receive(&example.hex(), &mut keep).unwrap();
    assert_eq!(data, first);
    let [answer] = &examples("trunk-answer")[..] else {
        panic!("more than one");
    };
    assert_eq!(output(&mut ejabberd), answer.hex(), "{}", answer.place);
    assert_eq!(frames_in_words(&answer.hex()), answer.meaning);
}

fn owned(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

fn output(session: &mut Session) -> Vec<u8> {
    let mut out = Vec::new();
    session.take_output(usize::MAX, &mut out, &mut |_: v2::Event<'_>| {});
    out
}

/// The cells of the table with this first heading, row by row.
fn table(heading: &str) -> Vec<Vec<&'static str>> {
    let start = format!("| {heading} |");
    let rows = DOCUMENT
        .lines()
        .skip_while(|line| !line.starts_with(&start));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    let cells = |row: &'static str| row.trim_matches('|').split('|').map(str::trim).collect();
    let rows: Vec<_> = rows.map(cells).collect();
    assert!(!rows.is_empty(), "no table with the heading {heading}");
    rows
}

#[test]
fn the_transports() {
    let names = table("transport").into_iter().map(|row| row[0]);
    let names: Vec<_> = names.map(|name| name.trim_matches('`')).collect();
    assert_eq!(names, TRANSPORTS.map(Transport::name));
}

#[test]
fn the_ceilings() {
    let ceilings = Ceilings::default();
    let expected = Ceiling::ALL.map(|ceiling| {
        let allowance = ceilings.allowance(ceiling);
        let also = [
            (allowance.per_kib, "KiB of data"),
            (allowance.per_frame_sent, "data frame that ejabberd sent"),
            (allowance.per_reset, "stream that ejabberd reset"),
        ];
        let also = also.into_iter().filter(|(count, _)| *count > 0);
        [
            format!("`{}`", ceiling.name()),
            allowance.most.to_string(),
            allowance.per_second.to_string(),
            allowance.per_stream.to_string(),
            also.map(|(count, what)| format!("{count} per {what}"))
                .collect(),
        ]
    });
    let found: Vec<_> = table("ceiling")
        .iter()
        .map(|row| owned(&row[..5]))
        .collect();
    assert_eq!(found, expected);
}
