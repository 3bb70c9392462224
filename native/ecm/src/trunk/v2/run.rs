//! Reading and writing a trunk until it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use megaphone_trunk::v2::{GoAwayCode, HEADER_LEN, SessionError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::mux::{Far, Multiplexer, MuxStage, NEVER_ASKED, State};
use super::streams::HandOn;
use crate::metrics::{Direction, TRUNK_BYTES, TRUNK_WRITE_TIMES};
use crate::panics::caught;
use crate::trunk::dial::{Reader, Writer};
use crate::trunk::lost::Lost;

/// How much is read from a trunk at once.
const READ_SIZE: usize = 256 * 1024;
/// How much is written to it at once; a buffer of as much is kept.
const WRITE_SIZE: usize = 256 * 1024;

/// How often the session looks at the clock: it asks a silent peer, and what a peer may do that brings
/// no progress grows with the time.
const TICK: Duration = Duration::from_secs(1);

/// How long the reason of a trunk's end may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Multiplexer {
    /// Reads and writes the trunk until one of the two is not possible any more, or until it takes no
    /// more streams and none is left. Then all connections end. Returns why.
    pub async fn run(self: Arc<Self>, reader: Reader, writer: Writer) -> Lost {
        // A task of its own, so that one processor can read while another one writes. It ends with
        // the set.
        let mut writing = JoinSet::new();
        let mux = Arc::clone(&self);
        writing.spawn(async move { mux.write(writer).await });
        let lost = tokio::select! {
            read = caught(self.read(reader)) => read.unwrap_or_else(Lost::from),
            lost = self.watch_clock() => lost,
            written = writing.join_next() => Lost::of_task(written),
        };
        if let Lost::Session(_) = lost {
            // The session has a go-away to say, and says nothing else any more.
            self.output.notify_one();
            let _ = timeout(LAST_WORDS, writing.join_next()).await;
        }
        self.lose();
        lost
    }

    async fn read(&self, mut reader: Reader) -> Lost {
        let mut buffer = vec![0; READ_SIZE];
        let mut read = 0_u64;
        loop {
            let length = match reader.read(&mut buffer).await {
                Ok(0) => return self.closed(read),
                Ok(length) => length,
                Err(error) => return Lost::Read(error),
            };
            self.count(Direction::Out, length);
            if let Err(error) = self.receive(&buffer[..length]) {
                return error.into();
            }
            // What begins with a go-away was turned away: it is never up. Less than a header may be anything, such as
            // the alert of one that wants TLS.
            read = read.saturating_add(length as u64);
            if read >= HEADER_LEN as u64 && !self.answered.load(Relaxed) && self.is_accepting() {
                self.answered.store(true, Relaxed);
                self.answer.notify_waiters();
            }
        }
    }

    /// A trunk that takes no more streams ends when none is left, and then it's all the same which side
    /// closes it.
    fn closed(&self, offset: u64) -> Lost {
        let state = self.state.lock();
        if state.session.has_gone_away() && state.session.stream_count() == 0 {
            Lost::Finished
        } else if state.session.is_between_frames() {
            Lost::Closed
        } else {
            Lost::ClosedInFrame { offset }
        }
    }

    fn count(&self, direction: Direction, bytes: usize) {
        if self.far == Far::Ejabberd {
            TRUNK_BYTES.of(direction).add(bytes as u64);
        }
    }

    pub fn receive(&self, bytes: &[u8]) -> Result<(), SessionError> {
        let mut state = self.state.lock();
        // Any byte is an answer.
        self.asked.store(NEVER_ASKED, Relaxed);
        let State {
            session, streams, ..
        } = &mut *state;
        let mut hand_on = HandOn::to(streams).accepting(self.accept.as_ref(), &self.budget);
        let received = session.receive(bytes, &mut hand_on);
        let HandOn {
            unwanted,
            gone_away,
            ..
        } = hand_on;
        for id in unwanted {
            tracing::debug!(
                id = id.get(),
                "the other side opened a stream, which only the one that dialled may do"
            );
            let _ = session.reject(id);
        }
        let has_output = session.has_output();
        if gone_away {
            self.stop_accepting(&state);
        } else if has_output || !self.is_accepting() {
            self.output.notify_one();
        }
        received
    }

    async fn watch_clock(&self) -> Lost {
        loop {
            if let Err(error) = self.tick() {
                return error.into();
            }
            sleep(TICK).await;
        }
    }

    fn tick(&self) -> Result<(), SessionError> {
        let mut state = self.state.lock();
        let tick = state.session.tick(self.now());
        let has_output = state.session.has_output();
        let asked = state.session.asked_since();
        // Before the lock is free: an answer must not come in between.
        self.asked.store(asked.unwrap_or(NEVER_ASKED), Relaxed);
        drop(state);
        if has_output {
            self.output.notify_one();
        }
        tick
    }

    async fn write(&self, mut writer: Writer) -> Lost {
        let mut batch = Vec::new();
        loop {
            // The clients that are ready go first, so that what they send is one write together.
            tokio::task::yield_now().await;
            let end = match self.take_output(&mut batch) {
                Batch::Bytes { since } => {
                    let written = match writer.write_all(&batch).await {
                        Ok(()) => writer.flush().await,
                        error => error,
                    };
                    if let Err(error) = written {
                        return Lost::Write(error);
                    }
                    self.count(Direction::In, batch.len());
                    if let Some(since) = since
                        && self.far == Far::Ejabberd
                    {
                        TRUNK_WRITE_TIMES.observe(since.elapsed());
                    }
                    batch.clear();
                    batch.shrink_to(WRITE_SIZE);
                    continue;
                }
                Batch::Nothing => {
                    self.output.notified().await;
                    continue;
                }
                Batch::Finished => Lost::Finished,
                Batch::Failed(error) => error.into(),
            };
            return match writer.shutdown().await {
                Ok(()) => end,
                Err(error) => Lost::Write(error),
            };
        }
    }

    pub fn take_output(&self, batch: &mut Vec<u8>) -> Batch {
        let mut state = self.state.lock();
        let is_finishing = state.stage != MuxStage::Serving || !self.is_accepting();
        let State {
            session, streams, ..
        } = &mut *state;
        session.take_output(WRITE_SIZE, batch, &mut HandOn::to(streams));
        let is_over = is_finishing && batch.is_empty() && session.stream_count() == 0;
        if is_over && !session.has_gone_away() {
            // Only now: a go-away overtakes the first frames of streams, and they would be refused.
            session.go_away(GoAwayCode::Normal);
            session.take_output(WRITE_SIZE, batch, &mut HandOn::to(streams));
        }
        self.count_queued(&mut state);
        if !batch.is_empty() {
            Batch::Bytes {
                since: state.waiting_since.take(),
            }
        } else if let Some(error) = state.session.failure() {
            Batch::Failed(error)
        } else if state.session.is_drained() {
            Batch::Finished
        } else {
            Batch::Nothing
        }
    }
}

/// What there was to write.
pub enum Batch {
    Bytes {
        /// Since when the first content among them waits, if there is any.
        since: Option<Instant>,
    },
    Nothing,
    /// All was written, and nothing more will come.
    Finished,
    Failed(SessionError),
}
