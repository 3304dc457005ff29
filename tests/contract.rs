//! What every store promises, checked on each of them; and what the file store
//! promises besides.

#![cfg(feature = "server")]

#[path = "contract/file.rs"]
mod file;
#[path = "contract/model.rs"]
mod model;
#[path = "contract/suite.rs"]
mod suite;
#[path = "contract/words.rs"]
mod words;

use std::sync::Arc;

use quotagate::store::{FileStore, MemoryStore};

/// Runs each promise on each store.
macro_rules! every_store_keeps {
    ($($promise:ident,)*) => {
        mod memory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::suite::$promise(super::Arc::new(super::MemoryStore::new())).await;
            })*
        }

        mod file_in_a_directory {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let dir = tempfile::tempdir().unwrap();
                let store = super::FileStore::open(dir.path()).unwrap();
                super::suite::$promise(super::Arc::new(store)).await;
            })*
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
}
