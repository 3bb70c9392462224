//! The addresses of a trunk's socket, in inet's terms.

use std::net::{IpAddr, SocketAddr};

use rustler::{Binary, Decoder, Encoder, Env, Error, NewBinary, NifResult, Term};

use crate::atoms;

/// `{{A,B,C,D}, Port}`, `{{A,...,H}, Port}`, `{local, Path}`, or `undefined`.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    V4((u8, u8, u8, u8), u16),
    V6([u16; 8], u16),
    Local(Vec<u8>),
    Unknown,
}

impl<'a> Decoder<'a> for Address {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        if term == atoms::undefined().encode(term.get_env()) {
            return Ok(Self::Unknown);
        }
        let (host, port): (Term<'a>, Term<'a>) = term.decode()?;
        if host == atoms::local().encode(term.get_env()) {
            let path: Binary<'a> = port.decode()?;
            return Ok(Self::Local(path.as_slice().to_vec()));
        }
        let port = narrow(port)?;
        let numbers = rustler::types::tuple::get_tuple(host)?;
        match numbers.as_slice() {
            [a, b, c, d] => {
                let v4 = (narrow(*a)?, narrow(*b)?, narrow(*c)?, narrow(*d)?);
                Ok(Self::V4(v4, port))
            }
            numbers => {
                let groups: Vec<u16> = numbers
                    .iter()
                    .map(|number| narrow(*number))
                    .collect::<NifResult<_>>()?;
                let groups = groups.try_into().map_err(|_| Error::BadArg)?;
                Ok(Self::V6(groups, port))
            }
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        match address.ip() {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                Self::V4((a, b, c, d), address.port())
            }
            IpAddr::V6(ip) => Self::V6(ip.segments(), address.port()),
        }
    }
}

/// A number of 8 or 16 bits; rustler's own decoder cuts a larger one.
fn narrow<T: TryFrom<u32>>(term: Term<'_>) -> NifResult<T> {
    T::try_from(term.decode::<u32>()?).map_err(|_| Error::BadArg)
}

impl Encoder for Address {
    fn encode<'a>(&self, env: Env<'a>) -> Term<'a> {
        match self {
            Self::V4(host, port) => (*host, *port).encode(env),
            Self::V6(groups, port) => {
                let groups: Vec<Term<'a>> = groups.iter().map(|group| group.encode(env)).collect();
                (rustler::types::tuple::make_tuple(env, &groups), *port).encode(env)
            }
            Self::Local(path) => {
                let path: Term<'a> = NewBinary::from_slice(env, path).into();
                (atoms::local(), path).encode(env)
            }
            Self::Unknown => atoms::undefined().encode(env),
        }
    }
}
