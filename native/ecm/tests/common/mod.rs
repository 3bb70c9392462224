//! A real `megaphone-ecm` process, a peer that speaks the trunk's protocol as ejabberd's side does,
//! and clients that are plain sockets.

// Each test program uses a part of it.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod authority;
pub mod fleet;
pub mod metrics;
mod said;
pub mod sessions;
pub mod v2;

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use megaphone_trunk::v1::{
    ConnectionId, Decoder, Event, FramePart, MaxFrameSize, put_close, put_content,
};

/// Far longer than anything takes that works.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running program. Dropping it kills it.
pub struct Ecm {
    child: Child,
    log: Receiver<String>,
    seen: Vec<String>,
    pub address: SocketAddr,
    pub config: PathBuf,
}

impl Ecm {
    /// Starts the program with a trunk to `peer`, quick redials, and more of a configuration.
    pub fn start(peer: &Peer, more: &str) -> Self {
        Self::start_with_trunk(&peer.address.to_string(), more)
    }

    pub fn start_with_trunk(trunk: &str, more: &str) -> Self {
        Self::start_with_config(&format!(
            "[trunk]\naddress = \"{trunk}\"\nprotocol = \"v1\"\ntrunks = 1\n\
             backoff_min = \"10ms\"\nbackoff_max = \"50ms\"\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\n[log]\nlevel = \"debug\"\n{more}"
        ))
    }

    pub fn start_with_config(config: &str) -> Self {
        Self::start_command(command(), config)
    }

    /// Starts the program with no more than so many open files.
    pub fn start_with_open_files(limit: u32, config: &str) -> Self {
        let mut shell = Command::new("sh");
        shell
            .arg("-c")
            .arg(format!("ulimit -n {limit}; exec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_megaphone-ecm"))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        Self::start_command(shell, config)
    }

    /// Starts the program with these arguments too.
    pub fn start_with(arguments: &[&str], config: &str) -> Self {
        let mut command = command();
        command.args(arguments);
        Self::start_command(command, config)
    }

    /// Starts the program as systemd does, with a socket that it is to accept clients from.
    pub fn start_with_socket(socket: &TcpListener, arguments: &[&str], config: &str) -> Self {
        let mut command = with_socket(socket);
        command.args(arguments);
        Self::start_command(command, config)
    }

    /// Starts the program by this command.
    pub fn start_command(mut command: Command, config: &str) -> Self {
        let path = write_config(config);
        let mut child = command
            .arg("--config")
            .arg(&path)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let (sender, log) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut ecm = Self {
            child,
            log,
            seen: Vec::new(),
            address,
            config: path,
        };
        let line = ecm.wait_for_log("listening on ");
        let text = line
            .split("listening on ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        ecm.address = text
            .and_then(|text| text.parse().ok())
            .expect("an address in the log");
        ecm
    }

    /// Waits for a log line with this text and gives it.
    pub fn wait_for_log(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(_) => panic!(
                    "no line with {text:?} in the log:\n{}",
                    self.seen.join("\n")
                ),
            }
        }
    }

    /// The log line with this text, which may be an earlier one.
    pub fn find_in_log(&mut self, text: &str) -> String {
        let line = self.seen.iter().find(|line| line.contains(text));
        match line.cloned() {
            Some(line) => line,
            None => self.wait_for_log(text),
        }
    }

    /// The lines logged so far.
    pub fn lines(&mut self) -> Vec<String> {
        self.seen.extend(self.log.try_iter());
        self.seen.clone()
    }

    /// The lines logged so far that hold a text.
    pub fn logged(&mut self, text: &str) -> usize {
        self.seen.extend(self.log.try_iter());
        self.seen.iter().filter(|line| line.contains(text)).count()
    }

    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// The address of the listener of a kind.
    #[track_caller]
    pub fn listener(&mut self, kind: &str) -> SocketAddr {
        let line = self.find_in_log(&format!("({kind}"));
        let rest = line.split("listening on ").nth(1).unwrap();
        rest.split(' ').next().unwrap().parse().unwrap()
    }

    /// The process's id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status();
        assert!(status.expect("kill runs").success());
    }

    pub fn wait_for_exit(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    /// The program's memory in bytes.
    pub fn resident_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    }
}

impl Drop for Ecm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.config);
    }
}

pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_megaphone-ecm"));
    command.env_remove("RUST_LOG").stdin(Stdio::null());
    command
}

/// The program as systemd starts it: the socket is descriptor 3.
pub fn with_socket(socket: &TcpListener) -> Command {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg("exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\"")
        .arg(env!("CARGO_BIN_EXE_megaphone-ecm"))
        .env_remove("RUST_LOG")
        .stdin(OwnedFd::from(socket.try_clone().unwrap()));
    shell
}

/// Waits for a process to end; a status that no process has if it does not.
pub fn wait(child: &mut Child) -> ExitStatus {
    let until = Instant::now() + PATIENCE;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status,
            None if Instant::now() > until => return ExitStatus::from_raw(-1),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Confirms that the program refuses a configuration with `expected` in its error, whether it is to
/// check it or to run.
#[track_caller]
pub fn refuses_config(config: &str, expected: &str) {
    let file = write_config(config);
    for arguments in [&["--check-config"][..], &[]] {
        let output = command()
            .arg("--config")
            .arg(&file)
            .args(arguments)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(expected), "{error}");
    }
    std::fs::remove_file(file).unwrap();
}

pub fn write_config(text: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!(
        "ecm-{}-{}.toml",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Accepts trunks.
pub struct Peer {
    listener: Option<TcpListener>,
    pub address: SocketAddr,
}

impl Peer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        Self {
            listener: Some(listener),
            address,
        }
    }

    pub fn accept(&self) -> Trunk {
        let (trunk, _greeting) = self.accept_greeted();
        trunk
    }

    /// The same, with the id in the trunk's first frame, which comes at once and closes it.
    pub fn accept_greeted(&self) -> (Trunk, ConnectionId) {
        let (stream, _) = self
            .listener
            .as_ref()
            .expect("the peer listens")
            .accept()
            .unwrap();
        let mut trunk = Trunk::new(stream);
        let greeting = trunk.closed();
        (trunk, greeting)
    }

    /// Stops to accept: connections to the address are refused.
    pub fn stop(&mut self) {
        self.listener = None;
    }

    pub fn start_again(&mut self) {
        self.listener = Some(TcpListener::bind(self.address).unwrap());
    }
}

/// ejabberd's end of a trunk.
pub struct Trunk {
    pub stream: TcpStream,
    decoder: Decoder,
    buffer: Vec<u8>,
    frames: VecDeque<Frame>,
    partial: Option<(ConnectionId, Vec<u8>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Content(ConnectionId, Vec<u8>),
    Close(ConnectionId),
}

impl Frame {
    #[track_caller]
    pub fn content(self) -> (ConnectionId, String) {
        match self {
            Self::Content(id, bytes) => (id, String::from_utf8_lossy(&bytes).into_owned()),
            Self::Close(id) => panic!("expected content, got a close of {id}"),
        }
    }
}

impl Trunk {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            decoder: Decoder::new(MaxFrameSize::DEFAULT),
            buffer: vec![0; 256 * 1024],
            frames: VecDeque::new(),
            partial: None,
        }
    }

    /// The next frame, or `None` when the ECM has ended the trunk.
    pub fn next(&mut self) -> Option<Frame> {
        while self.frames.is_empty() {
            let length = match self.stream.read(&mut self.buffer) {
                Ok(0) => return None,
                Ok(length) => length,
                Err(error) => panic!("no frame within {PATIENCE:?}: {error}"),
            };
            for event in self.decoder.decode(&self.buffer[..length]) {
                match event.expect("the ECM speaks version 1") {
                    Event::Close { id } => self.frames.push_back(Frame::Close(id)),
                    Event::Content { id, bytes, part } => {
                        let (_, content) = self.partial.get_or_insert((id, Vec::new()));
                        content.extend_from_slice(bytes);
                        if part == FramePart::Last {
                            let (id, content) = self.partial.take().unwrap();
                            self.frames.push_back(Frame::Content(id, content));
                        }
                    }
                }
            }
        }
        self.frames.pop_front()
    }

    /// The next frame, which has to be content.
    #[track_caller]
    pub fn request(&mut self) -> (ConnectionId, String) {
        self.next().expect("the trunk is open").content()
    }

    /// The next frame, which has to be a close.
    #[track_caller]
    pub fn closed(&mut self) -> ConnectionId {
        match self.next().expect("the trunk is open") {
            Frame::Close(id) => id,
            Frame::Content(id, bytes) => {
                panic!(
                    "expected a close, got content of {id}: {}",
                    String::from_utf8_lossy(&bytes)
                )
            }
        }
    }

    pub fn send(&mut self, id: &ConnectionId, content: &[u8]) {
        let mut out = Vec::new();
        put_content(&mut out, id, content, MaxFrameSize::DEFAULT);
        self.stream.write_all(&out).unwrap();
    }

    /// Answers a request with 200 and this body.
    pub fn answer(&mut self, id: &ConnectionId, body: &str) {
        self.send(id, ok(body).as_bytes());
    }

    pub fn close(&mut self, id: &ConnectionId) {
        let mut out = Vec::new();
        put_close(&mut out, id);
        self.stream.write_all(&out).unwrap();
    }

    /// Answers each request with its body, or its first line if it has none, until the trunk ends.
    pub fn echo(mut self) {
        while let Some(frame) = self.next() {
            if let Frame::Content(id, bytes) = frame {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
                let answer = if body.is_empty() {
                    head.lines().next().unwrap()
                } else {
                    body
                };
                self.answer(&id, answer);
            }
        }
    }
}

/// A whole answer.
pub fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A whole GET request for a path.
pub fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// An HTTP client without any mercy.
pub struct Client {
    pub stream: TcpStream,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream }
    }

    pub fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Reads exactly this text.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        expect(&mut self.stream, text);
    }

    /// Reads up to this text and with it, a byte at a time.
    #[track_caller]
    pub fn until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            let mut byte = [0];
            match self.stream.read(&mut byte) {
                Ok(1..) => bytes.push(byte[0]),
                Ok(0) | Err(_) => panic!(
                    "expected {end:?}, got {:?} and no more",
                    String::from_utf8_lossy(&bytes)
                ),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads to the end of the connection, which has to be an orderly one.
    #[track_caller]
    pub fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => panic!(
                "expected the connection to end, got {error} after {:?}",
                String::from_utf8_lossy(&bytes)
            ),
        }
    }

    /// Waits for the end of the connection and gives what came before and how it ended.
    pub fn drain(&mut self) -> (usize, std::io::Result<()>) {
        let mut buffer = vec![0; 64 * 1024];
        let mut total = 0;
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return (total, Ok(())),
                Ok(length) => total += length,
                Err(error) => return (total, Err(error)),
            }
        }
    }
}

/// Reads exactly this text.
#[track_caller]
pub fn expect(stream: &mut impl Read, text: &str) {
    let mut bytes = vec![0; text.len()];
    let mut got = 0;
    while got < bytes.len() {
        match stream.read(&mut bytes[got..]) {
            Ok(0) => break,
            Ok(length) => got += length,
            Err(error) => panic!(
                "expected {text:?}, got {:?} and then {error}",
                String::from_utf8_lossy(&bytes[..got])
            ),
        }
    }
    assert_eq!(String::from_utf8_lossy(&bytes[..got]), text);
}

/// The status code of an answer.
#[track_caller]
pub fn status(answer: &str) -> u16 {
    let code = answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    code.and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

/// Shells start programs with 1024 though more are allowed.
pub fn allow_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
}
