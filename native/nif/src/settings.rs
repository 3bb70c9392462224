//! A trunk's settings and a socket's options, out of Erlang's terms.

use std::sync::Arc;
use std::time::Duration;

use megaphone_socket::Change;
use megaphone_socket::config::Config;
use megaphone_socket::options::{Active, ActiveChange, Line, Mode};
use megaphone_socket::origin::Content;
use megaphone_socket::sink::Text;
use megaphone_trunk::v1::MaxFrameSize;
use megaphone_trunk::v2::{Allowance, Ceiling, Ceilings};
use rustler::{Atom, Decoder, Encoder, Env, Error, LocalPid, MapIterator, NifMap, NifResult, Term};

use crate::address::Address;
use crate::atoms;

/// The map that `megaphone_nif:open/1` takes.
#[derive(NifMap)]
#[rustler(decode)]
pub(crate) struct Settings {
    content: Atom,
    max_frame_size: u64,
    max_connections: usize,
    max_trunk_buffer: usize,
    max_trunk_output: usize,
    idle_timeout: Milliseconds,
    send_timeout: Milliseconds,
    handshake_timeout: Milliseconds,
    frame_timeout: Milliseconds,
    ceilings: CeilingSettings,
    pub(crate) listener: LocalPid,
    pub(crate) peername: Address,
    pub(crate) sockname: Address,
}

impl Settings {
    pub(crate) fn config(&self) -> NifResult<Config> {
        Ok(Config {
            content: if self.content == atoms::http() {
                Content::Http
            } else if self.content == atoms::raw() {
                Content::Raw
            } else {
                return Err(Error::BadArg);
            },
            max_frame_size: MaxFrameSize::new(self.max_frame_size).map_err(|_| Error::BadArg)?,
            max_connections: self.max_connections,
            max_trunk_buffer: self.max_trunk_buffer,
            max_trunk_output: self.max_trunk_output,
            idle_timeout: self.idle_timeout.duration(),
            send_timeout: self.send_timeout.0,
            handshake_timeout: self.handshake_timeout.duration(),
            frame_timeout: self.frame_timeout.duration(),
            ceilings: self.ceilings.0,
            http: Arc::default(),
        })
    }
}

/// `#{ceiling() => #{most => N, per_second => N}}`: what is not there keeps its default.
struct CeilingSettings(Ceilings);

impl<'a> Decoder<'a> for CeilingSettings {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let mut ceilings = Ceilings::default();
        for (name, limits) in entries(term)? {
            let ceiling = Ceiling::named(&name.atom_to_string()?).ok_or(Error::BadArg)?;
            limit(ceilings.allowance_mut(ceiling), limits)?;
        }
        Ok(Self(ceilings))
    }
}

fn limit(allowance: &mut Allowance, limits: Term<'_>) -> NifResult<()> {
    for (name, value) in entries(limits)? {
        let name: Atom = name.decode()?;
        let limit = if name == atoms::most() {
            &mut allowance.most
        } else if name == atoms::per_second() {
            &mut allowance.per_second
        } else {
            return Err(Error::BadArg);
        };
        *limit = value.decode()?;
    }
    Ok(())
}

fn entries(term: Term<'_>) -> NifResult<MapIterator<'_>> {
    MapIterator::new(term).ok_or(Error::BadArg)
}

/// A timeout: milliseconds, or `infinity` as `None`.
#[derive(Clone, Copy)]
pub(crate) struct Milliseconds(pub(crate) Option<u32>);

impl Milliseconds {
    fn duration(self) -> Option<Duration> {
        self.0.map(|ms| Duration::from_millis(ms.into()))
    }
}

impl<'a> Decoder<'a> for Milliseconds {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        if term.is_atom() {
            let infinity = term.decode::<Atom>()? == atoms::infinity();
            return if infinity {
                Ok(Self(None))
            } else {
                Err(Error::BadArg)
            };
        }
        term.decode().map(|ms| Self(Some(ms)))
    }
}

impl Encoder for Milliseconds {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self.0 {
            Some(ms) => ms.encode(env),
            None => atoms::infinity().encode(env),
        }
    }
}

/// One of setopts' options: `{active, _}`, `{packet, _}` or `{send_timeout, _}`.
pub(crate) struct SocketOption(pub(crate) Change);

impl<'a> Decoder<'a> for SocketOption {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        let (name, value): (Atom, Term<'a>) = term.decode()?;
        let change = if name == atoms::active() {
            Change::Active(active_change(value)?)
        } else if name == atoms::packet() {
            Change::Mode(mode(value)?)
        } else if name == atoms::send_timeout() {
            Change::SendTimeout(value.decode::<Milliseconds>()?.0)
        } else {
            return Err(Error::BadArg);
        };
        Ok(Self(change))
    }
}

fn active_change(value: Term<'_>) -> NifResult<ActiveChange> {
    if let Ok(count) = value.decode::<i32>() {
        return Ok(ActiveChange::Add(count));
    }
    if let Ok(always) = value.decode::<bool>() {
        let active = if always {
            Active::Always
        } else {
            Active::Passive
        };
        return Ok(ActiveChange::To(active));
    }
    if value.decode::<Atom>()? == atoms::once() {
        return Ok(ActiveChange::To(Active::Once));
    }
    Err(Error::BadArg)
}

fn mode(value: Term<'_>) -> NifResult<Mode> {
    if let Ok(number) = value.decode::<u32>() {
        return if number == 0 {
            Ok(Mode::Raw)
        } else {
            Err(Error::BadArg)
        };
    }
    let name = value.decode::<Atom>()?;
    let http = |line, text| Ok(Mode::Http { line, text });
    if name == atoms::raw() {
        Ok(Mode::Raw)
    } else if name == atoms::http() {
        http(Line::Start, Text::List)
    } else if name == atoms::http_bin() {
        http(Line::Start, Text::Binary)
    } else if name == atoms::httph() {
        http(Line::HeadersOnly, Text::List)
    } else if name == atoms::httph_bin() {
        http(Line::HeadersOnly, Text::Binary)
    } else {
        Err(Error::BadArg)
    }
}

/// `active` as getopts answers it.
pub(crate) fn active_term(env: Env<'_>, active: Active) -> Term<'_> {
    match active {
        Active::Passive => false.encode(env),
        Active::Always => true.encode(env),
        Active::Once => atoms::once().encode(env),
        Active::Count(count) => count.encode(env),
    }
}

/// `packet` as getopts answers it.
pub(crate) fn mode_term(env: Env<'_>, mode: Mode) -> Term<'_> {
    let name = match mode {
        // inet's own answer for `raw`.
        Mode::Raw => return 0.encode(env),
        Mode::Http {
            line: Line::HeadersOnly,
            text: Text::List,
        } => atoms::httph(),
        Mode::Http {
            line: Line::HeadersOnly,
            text: Text::Binary,
        } => atoms::httph_bin(),
        Mode::Http {
            text: Text::List, ..
        } => atoms::http(),
        Mode::Http {
            text: Text::Binary, ..
        } => atoms::http_bin(),
    };
    name.encode(env)
}
