//! All trunks.

use rustler::{Encoder, Env, LocalPid, Term};

use crate::atoms;
use crate::resource;
use crate::status::{status_term, trunk_term};

#[rustler::nif]
fn admit(listener: LocalPid, most: usize) -> bool {
    resource::admit(listener, most)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn trunks(env: Env<'_>) -> Vec<Term<'_>> {
    resource::trunks()
        .iter()
        .map(|shared| trunk_term(env, shared))
        .collect()
}

#[rustler::nif]
fn trunk(env: Env<'_>, number: u64) -> Term<'_> {
    match resource::trunk(number) {
        Some(shared) => trunk_term(env, &shared),
        None => atoms::none().encode(env),
    }
}

#[rustler::nif]
fn ended(env: Env<'_>) -> Term<'_> {
    status_term(env, &resource::ended())
}

#[rustler::nif]
fn last_end() -> u64 {
    resource::last_end()
}
