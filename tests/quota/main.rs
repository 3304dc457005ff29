//! The ledger through its public interface: tables of its rules, and property
//! tests against a naive reference.

mod bench;
mod classes;
mod closed;
mod decisions;
mod header;
mod names;
mod pool;
mod queue;
mod readings;
mod record;
mod reference;
mod requests;
mod reserve;
mod samples;
mod settling;
mod time;
mod truth;
