//! The rules against a provider that lies, on loopback.

mod flow;
mod idp;
mod rules;
mod transport;
