//! The ledger through its public interface: tables of its rules, and property
//! tests against a naive reference.

mod bench;
mod decisions;
mod names;
mod pool;
mod reference;
mod requests;
mod settling;
mod time;
