//! The ledger through its public interface: tables of its rules, and property
//! tests against a naive reference.

mod attribution;
mod bench;
mod burn;
mod classes;
mod closed;
mod cooling;
mod decisions;
mod explain;
mod fair;
mod guarantees;
mod header;
mod names;
mod pool;
mod queue;
mod readings;
mod record;
mod reference;
mod replay;
mod requests;
mod reserve;
mod samples;
mod settling;
mod shadow;
mod time;
mod trust;
mod truth;
