//! inet's setopts and getopts.

use super::Trunk;
use crate::handle::Handle;
use crate::options::{Active, ActiveChange, Mode};
use crate::sink::{Process, Reason, Sink};

/// A socket's options as getopts answers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `active`.
    pub active: Active,
    /// `packet`.
    pub mode: Mode,
    /// `send_timeout` in milliseconds; `None` is infinity.
    pub send_timeout: Option<u32>,
}

/// What setopts changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// `active`.
    Active(ActiveChange),
    /// `packet`.
    Mode(Mode),
    /// `send_timeout` in milliseconds; `None` is infinity.
    SendTimeout(Option<u32>),
}

impl<P: Process> Trunk<P> {
    /// inet:setopts/2: the changes in order, up to the first that fails (`einval`).
    pub fn set_options<S: Sink<P>>(
        &self,
        handle: Handle,
        changes: &[Change],
        sink: &mut S,
    ) -> Result<(), Reason> {
        let changed = self.visit(handle, sink, |connection, around| {
            if connection.is_released() {
                return Err(Reason::Invalid);
            }
            for change in changes {
                match *change {
                    Change::Active(active) => connection.set_active(around, active)?,
                    Change::Mode(mode) => connection.set_mode(around, mode),
                    Change::SendTimeout(timeout) => connection.set_send_timeout(timeout),
                }
            }
            Ok(())
        });
        changed.unwrap_or(Err(Reason::Invalid))
    }

    /// inet:getopts/2; `None` if the connection is closed.
    pub fn options(&self, handle: Handle) -> Option<Options> {
        let options = self.connections.visit(handle, |connection| {
            (!connection.is_released()).then(|| Options {
                active: connection.active(),
                mode: connection.mode(),
                send_timeout: connection.send_timeout(),
            })
        });
        options.flatten()
    }
}
