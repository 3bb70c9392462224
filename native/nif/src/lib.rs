//! The NIF: a thin skin that turns Erlang's terms into the calls of `megaphone-socket` and back.
//!
//! Rules that keep the VM safe:
//! - No lock is held while a wake is sent; only an active socket's data is sent under its
//!   connection's lock, since nothing else keeps it in order.
//! - What can pass 1 ms (a feed over 64 KiB, a recv over 1 MiB, a document over 16 KiB, a visit of all
//!   connections or trunks) has a variant on a dirty scheduler; the rest charges its time.
//! - rustler turns a panic into an Erlang exception at the edge; a wake that was due is still
//!   sent (`Mailbox` sends as it is dropped).
#![allow(unsafe_code)] // rustler's macros write the NIF's entry points.

mod address;
mod atoms;
mod calls;
mod charge;
mod document;
mod down;
mod handle;
mod mailbox;
mod packet;
mod resource;
mod settings;
mod status;
mod text;

rustler::init!("megaphone_nif");
