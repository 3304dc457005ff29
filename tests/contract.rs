//! What every store promises, checked on each of them; and what the file store
//! promises besides.

#![cfg(feature = "server")]

#[path = "common/etcd.rs"]
mod etcd;
#[path = "common/fake_etcd/mod.rs"]
mod fake_etcd;
#[path = "contract/file.rs"]
mod file;
#[path = "contract/model.rs"]
mod model;
#[path = "contract/sessions.rs"]
mod sessions;
#[path = "contract/suite.rs"]
mod suite;
#[path = "contract/words.rs"]
mod words;

use std::{net::SocketAddr, sync::Arc};

use etcd::{Etcd, Which};
use fake_etcd::FakeEtcd;
use quotagate::store::{self, FileStore, MemoryStore, SharedStore, StoreOptions};

/// Runs each promise on each store: a test each, on the stores that a process
/// has for itself; on an etcd, which takes its time to start, one after the other
/// under prefixes of their own.
macro_rules! every_store_keeps {
    ($($promise:ident,)* @alone $($alone:ident,)*) => {
        mod memory {
            $(every_store_keeps!(@test $promise, super::MemoryStore::new());)*
            $(every_store_keeps!(@test $alone, super::MemoryStore::new());)*
        }

        mod file_in_a_directory {
            $(every_store_keeps!(@test $promise, {
                let dir = tempfile::tempdir().unwrap();
                super::FileStore::open(dir.path()).unwrap()
            });)*
            $(every_store_keeps!(@test $alone, {
                let dir = tempfile::tempdir().unwrap();
                super::FileStore::open(dir.path()).unwrap()
            });)*
        }

        /// All on one etcd, in one test.
        async fn etcd_keeps_every_promise(open: impl Fn(&str) -> SharedStore) {
            $(
                eprintln!("{}", stringify!($promise));
                suite::$promise(open(stringify!($promise))).await;
            )*
        }
    };
    (@test $promise:ident, $store:expr) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            super::suite::$promise(super::Arc::new($store)).await;
        }
    };
}

every_store_keeps! {
    a_new_store_is_empty,
    what_is_put_is_read_back,
    a_range_has_the_keys_of_its_prefix_in_order,
    a_transaction_without_conditions_is_done,
    conditions_are_compared_with_what_stands,
    a_conflict_tells_what_stands_in_the_order_of_the_conditions,
    a_conflict_changes_nothing,
    all_writes_of_a_transaction_have_one_revision,
    a_transaction_sees_the_state_before_its_own_writes,
    a_put_keeps_the_create_revision,
    a_key_made_again_gets_a_new_create_revision,
    revisions_rise_by_one_with_each_change_and_with_nothing_else,
    a_key_written_twice_in_a_transaction_is_refused,
    any_bytes_are_values_and_any_text_is_a_key,
    of_many_writers_one_wins_each_round,
    transactions_sent_together_are_carried_out_one_after_the_other,
    a_range_never_sees_half_a_transaction,
    a_range_is_not_older_than_its_call,
    a_caller_that_goes_away_harms_nobody,
    @alone
    what_is_handed_over_before_is_carried_out_before,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_current_etcd_keeps_every_promise() {
    let Some(etcd) = Etcd::start(1, Which::Current) else { return };
    etcd_keeps_every_promise(|prefix| open(&etcd, prefix)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_etcd_of_the_system_keeps_every_promise() {
    let Some(etcd) = Etcd::start(1, Which::Packaged) else { return };
    etcd_keeps_every_promise(|prefix| open(&etcd, prefix)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_etcd_in_memory_keeps_every_promise() {
    let fake = Fake::start().await;
    etcd_keeps_every_promise(|prefix| fake.open(prefix)).await;
}

/// A store in an etcd, with a prefix of its own.
fn open(etcd: &Etcd, prefix: &str) -> SharedStore {
    open_at(&etcd.store_address(prefix))
}

fn open_at(address: &str) -> SharedStore {
    let address = address.parse().expect("an address");
    store::open(&address, &StoreOptions::default()).expect("it opens").store
}

/// An etcd in memory, behind a port.
struct Fake {
    address: SocketAddr,
}

impl Fake {
    async fn start() -> Self {
        Self { address: FakeEtcd::new().listen(1).await.expect("there is a free port") }
    }

    /// A store in it, with a prefix of its own.
    fn open(&self, prefix: &str) -> SharedStore {
        open_at(&format!("etcd://{}/{prefix}", self.address))
    }
}
