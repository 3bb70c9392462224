//! An Erlang VM that is asked what it makes of the same bytes.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The other implementation: `compare.erl` in a VM of its own.
struct Vm {
    _child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Vm {
    fn start() -> Self {
        let beams = std::env::var("FUZZ_BEAMS")
            .expect("FUZZ_BEAMS names the folder of compare.beam, see run.py");
        let mut child = Command::new("erl")
            .args(["-noinput", "-pa", &beams, "-s", "compare", "run"])
            .args([
                "+S",
                "1:1",
                "+sbwt",
                "none",
                "-kernel",
                "logger_level",
                "none",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("erl starts");
        let to = child.stdin.take().expect("it is piped");
        let from = child.stdout.take().expect("it is piped");
        Self {
            _child: child,
            to,
            from,
        }
    }

    fn ask(&mut self, question: &[u8]) -> Vec<u8> {
        let length = u32::try_from(question.len()).expect("a batch is short");
        self.to
            .write_all(&length.to_be_bytes())
            .expect("the VM reads");
        self.to.write_all(question).expect("the VM reads");
        let mut length = [0; 4];
        self.from.read_exact(&mut length).expect("the VM answers");
        let mut answer = vec![0; u32::from_be_bytes(length) as usize];
        self.from.read_exact(&mut answer).expect("the VM answers");
        answer
    }
}

/// Cases for the VM: each is bytes, and the term that they are here.
pub struct Batch {
    bytes: Vec<u8>,
    cases: usize,
}

impl Batch {
    /// No cases yet, of what `compare.erl` knows by that letter.
    #[must_use]
    pub fn new(kind: u8) -> Self {
        Self {
            bytes: vec![kind],
            cases: 0,
        }
    }

    /// Adds a case: an option, the bytes, and the term in the external format without its first byte.
    pub fn add(&mut self, option: u8, bytes: &[u8], term: &[u8]) {
        self.bytes.push(option);
        for part in [bytes, term] {
            let length = u32::try_from(part.len()).expect("a case is short");
            self.bytes.extend_from_slice(&length.to_be_bytes());
            self.bytes.extend_from_slice(part);
        }
        self.cases += 1;
    }

    /// Fails with what the VM says of the first case that is another term there; how many there were.
    pub fn compare(&self) -> u64 {
        thread_local! {
            static VM: RefCell<Option<Vm>> = const { RefCell::new(None) };
        }
        let answer = VM.with_borrow_mut(|vm| vm.get_or_insert_with(Vm::start).ask(&self.bytes));
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
        self.cases as u64
    }
}

/// Terms in the external format.
pub mod term {
    fn length(out: &mut Vec<u8>, length: usize) {
        out.extend_from_slice(
            &u32::try_from(length)
                .expect("a term is short")
                .to_be_bytes(),
        );
    }

    /// The head of a tuple of so many elements, which follow.
    pub fn tuple(out: &mut Vec<u8>, arity: u8) {
        out.extend_from_slice(&[104, arity]);
    }

    /// An atom.
    pub fn atom(out: &mut Vec<u8>, name: &str) {
        out.extend_from_slice(&[119, u8::try_from(name.len()).expect("an atom is short")]);
        out.extend_from_slice(name.as_bytes());
    }

    /// A number.
    pub fn integer(out: &mut Vec<u8>, number: i32) {
        out.push(98);
        out.extend_from_slice(&number.to_be_bytes());
    }

    /// A binary.
    pub fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
        out.push(109);
        length(out, bytes.len());
        out.extend_from_slice(bytes);
    }

    /// The head of a list of so many elements, which follow, and then [`nil`].
    pub fn list(out: &mut Vec<u8>, count: usize) {
        if count > 0 {
            out.push(108);
            length(out, count);
        }
    }

    /// The end of a list.
    pub fn nil(out: &mut Vec<u8>) {
        out.push(106);
    }
}
