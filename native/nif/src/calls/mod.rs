//! The functions of `megaphone_nif`.

mod connection;
mod decoders;
mod origin;
mod trunk;
mod trunks;
