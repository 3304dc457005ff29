//! The promises of `trait Store`. Each begins with a store without keys, at any
//! revision; nobody else writes to it.

use std::{collections::BTreeSet, pin::pin, task::Poll};

use quotagate::store::{KeyValue, SharedStore, StoreError, TxnOutcome, Write};
use tokio::sync::watch;

use crate::words::{
    absent, created_at, delete, dump, get, modified_at, put, show, together, txn, write,
};

pub async fn a_new_store_is_empty(store: SharedStore) {
    let listing = store.list("").await.unwrap();
    assert_eq!(listing.entries, []);
    assert_eq!(write(&*store, []).await, listing.revision);
}

pub async fn what_is_put_is_read_back(store: SharedStore) {
    let revision = write(&*store, [put("a", "1")]).await;
    let entry = KeyValue {
        key: "a".into(),
        value: b"1".to_vec(),
        create_revision: revision,
        mod_revision: revision,
    };
    assert_eq!(store.range("a").await.unwrap(), [entry]);
}

pub async fn a_range_has_the_keys_of_its_prefix_in_order(store: SharedStore) {
    for key in
        ["s/2/b", "s/10/a", "s/1/c", "s/1/a", "s/1", "s/1/b", "s0", "r", "s/1/é", "s/1/\u{10ffff}"]
    {
        write(&*store, [put(key, "")]).await;
    }
    for (prefix, keys) in [
        ("s/1/", &["s/1/a", "s/1/b", "s/1/c", "s/1/é", "s/1/\u{10ffff}"][..]),
        ("s/2", &["s/2/b"]),
        ("s/1/b", &["s/1/b"]),
        ("r", &["r"]),
        ("s/3", &[]),
        ("t", &[]),
        (
            "",
            &[
                "r",
                "s/1",
                "s/1/a",
                "s/1/b",
                "s/1/c",
                "s/1/é",
                "s/1/\u{10ffff}",
                "s/10/a",
                "s/2/b",
                "s0",
            ],
        ),
    ] {
        let found = store.range(prefix).await.unwrap();
        let found: Vec<_> = found.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!(found, keys, "{prefix:?}");
    }
}

pub async fn a_transaction_without_conditions_is_done(store: SharedStore) {
    for value in ["1", "2"] {
        let outcome = store.txn(txn([], [put("a", value)])).await.unwrap();
        assert!(matches!(outcome, TxnOutcome::Done { .. }), "{outcome:?}");
    }
}

pub async fn conditions_are_compared_with_what_stands(store: SharedStore) {
    let created = write(&*store, [put("a", "1")]).await;
    let modified = write(&*store, [put("a", "2")]).await;
    for (condition, holds) in [
        (modified_at("a", modified), true),
        (modified_at("a", created), false),
        (modified_at("a", modified + 1), false),
        (modified_at("a", 0), false),
        (created_at("a", created), true),
        (created_at("a", modified), false),
        (created_at("a", 0), false),
        (modified_at("absent", 0), true),
        (modified_at("absent", 1), false),
        (created_at("absent", 0), true),
        (created_at("absent", created), false),
    ] {
        let outcome = store.txn(txn([condition.clone()], [])).await.unwrap();
        assert_eq!(matches!(outcome, TxnOutcome::Done { .. }), holds, "{condition:?}");
    }
}

pub async fn a_conflict_tells_what_stands_in_the_order_of_the_conditions(store: SharedStore) {
    let revision = write(&*store, [put("a", "1"), put("b", "2")]).await;
    let conditions = [
        modified_at("b", revision),
        absent("gone"),
        modified_at("a", 77),
        modified_at("b", revision),
    ];
    let TxnOutcome::Conflict { current } =
        store.txn(txn(conditions, [put("c", "3")])).await.unwrap()
    else {
        panic!("a condition does not hold");
    };
    let current: Vec<_> = current.iter().map(|entry| entry.as_ref().map(show)).collect();
    let a = Some(format!("a=1@{revision}/{revision}"));
    let b = Some(format!("b=2@{revision}/{revision}"));
    assert_eq!(current, [b.clone(), None, a, b]);
}

pub async fn a_conflict_changes_nothing(store: SharedStore) {
    let revision = write(&*store, [put("a", "1"), put("b", "2")]).await;
    let before = dump(&*store).await;
    let writes = [put("a", "x"), delete("b"), put("c", "x")];
    // All conditions but one hold, wherever the one stands.
    for false_at in 0..3 {
        let mut conditions =
            vec![modified_at("a", revision), created_at("b", revision), absent("c")];
        conditions[false_at] = modified_at("a", revision + 7);
        let outcome = store.txn(txn(conditions, writes.clone())).await.unwrap();
        assert!(matches!(outcome, TxnOutcome::Conflict { .. }), "{outcome:?}");
        assert_eq!(dump(&*store).await, before);
    }
    assert_eq!(write(&*store, [put("d", "")]).await, revision + 1);
}

pub async fn all_writes_of_a_transaction_have_one_revision(store: SharedStore) {
    let first = write(&*store, [put("a", "1"), put("old", "1")]).await;
    let r = write(&*store, [put("b", "2"), delete("old"), put("c", "3"), put("a", "4")]).await;
    let expected = [format!("a=4@{first}/{r}"), format!("b=2@{r}/{r}"), format!("c=3@{r}/{r}")];
    assert_eq!(dump(&*store).await, expected);
}

pub async fn a_transaction_sees_the_state_before_its_own_writes(store: SharedStore) {
    let before = write(&*store, []).await;
    let outcome = store
        .txn(txn([absent("a"), modified_at("b", 0)], [put("a", "1"), put("b", "1")]))
        .await
        .unwrap();
    assert_eq!(outcome, TxnOutcome::Done { revision: before + 1 });
}

pub async fn a_put_keeps_the_create_revision(store: SharedStore) {
    let created = write(&*store, [put("a", "1")]).await;
    write(&*store, [put("b", "")]).await;
    let modified = write(&*store, [put("a", "2")]).await;
    let entry = get(&*store, "a").await.unwrap();
    assert_eq!((entry.create_revision, entry.mod_revision), (created, modified));
}

pub async fn a_key_made_again_gets_a_new_create_revision(store: SharedStore) {
    let first = write(&*store, [put("a", "1")]).await;
    write(&*store, [delete("a")]).await;
    assert_eq!(get(&*store, "a").await, None);
    let outcome = store.txn(txn([absent("a")], [put("a", "1")])).await.unwrap();
    let TxnOutcome::Done { revision: second } = outcome else { panic!("{outcome:?}") };
    assert!(second > first);
    let entry = get(&*store, "a").await.unwrap();
    assert_eq!((entry.create_revision, entry.mod_revision), (second, second));
    // What knew the first life does not take the second one for it.
    let outcome = store.txn(txn([created_at("a", first)], [])).await.unwrap();
    assert!(matches!(outcome, TxnOutcome::Conflict { .. }), "{outcome:?}");
}

pub async fn revisions_rise_by_one_with_each_change_and_with_nothing_else(store: SharedStore) {
    let base = write(&*store, []).await;
    for (what, writes, changes) in [
        ("a put", vec![put("a", "1")], 1),
        ("the same put", vec![put("a", "1")], 2),
        ("no write", vec![], 2),
        ("a deletion of nothing", vec![delete("b")], 2),
        ("two puts", vec![put("b", ""), put("c", "")], 3),
        ("a deletion", vec![delete("b")], 4),
        ("two deletions, one of nothing", vec![delete("b"), delete("c")], 5),
    ] {
        assert_eq!(write(&*store, writes).await, base + changes, "{what}");
    }
    let conflict = store.txn(txn([absent("a")], [put("a", "2")])).await.unwrap();
    assert!(matches!(conflict, TxnOutcome::Conflict { .. }));
    assert_eq!(write(&*store, []).await, base + 5, "a conflict");
}

pub async fn a_key_written_twice_in_a_transaction_is_refused(store: SharedStore) {
    for writes in [
        [put("a", "1"), put("b", "1"), put("a", "2")],
        [put("a", "1"), put("b", "1"), delete("a")],
        [delete("a"), put("b", "1"), put("a", "1")],
    ] {
        let outcome = store.txn(txn([], writes)).await;
        assert!(matches!(outcome, Err(StoreError::NotExecuted(_))), "{outcome:?}");
        assert!(dump(&*store).await.is_empty());
    }
}

pub async fn any_bytes_are_values_and_any_text_is_a_key(store: SharedStore) {
    let large = vec![0xa5; 1 << 20];
    for (key, value) in [
        ("empty", vec![]),
        ("bytes", (0..=255).collect()),
        ("large", large),
        ("with spaces, : and ünïcödé ☂", vec![0]),
    ] {
        write(&*store, [Write::Put(key.into(), value.clone())]).await;
        assert_eq!(get(&*store, key).await.unwrap().value, value, "{key}");
    }
}

pub async fn of_many_writers_one_wins_each_round(store: SharedStore) {
    const WRITERS: usize = 8;
    let mut known = 0;
    for round in 0..60 {
        let tasks: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = store.clone();
                let value = format!("{round}/{writer}");
                tokio::spawn(async move {
                    let attempt = txn([modified_at("k", known)], [put("k", &value)]);
                    (value, store.txn(attempt).await.unwrap())
                })
            })
            .collect();
        let mut winner = None;
        let mut losers = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                (value, TxnOutcome::Done { revision }) => {
                    assert_eq!(winner.replace((value, revision)), None, "two winners");
                }
                (_, TxnOutcome::Conflict { current }) => losers.push(current),
            }
        }
        let (value, revision) = winner.expect("somebody wins");
        let stands = get(&*store, "k").await.unwrap();
        assert_eq!((stands.value.as_slice(), stands.mod_revision), (value.as_bytes(), revision));
        assert_eq!(losers.len(), WRITERS - 1);
        assert!(losers.iter().all(|current| *current == [Some(stands.clone())]), "{losers:?}");
        known = revision;
    }
}

pub async fn transactions_sent_together_are_carried_out_one_after_the_other(store: SharedStore) {
    // All read the counter at the same moment and add one: each revision is
    // handed out once, whatever was committed together.
    let base = write(&*store, []).await;
    let txns = (0..100)
        .map(|n| txn([absent(&format!("k{}", n % 10))], [put(&format!("k{}", n % 10), "")]));
    let outcomes = together(&store, txns.collect()).await;
    let mut revisions = BTreeSet::new();
    for outcome in outcomes {
        match outcome {
            TxnOutcome::Done { revision } => {
                assert!(revisions.insert(revision), "{revision} twice")
            }
            TxnOutcome::Conflict { current } => {
                // Who lost sees who won, also where both were in one commit.
                let [Some(entry)] = &current[..] else { panic!("{current:?}") };
                assert!((base + 1..=base + 10).contains(&entry.create_revision), "{entry:?}");
            }
        }
    }
    assert_eq!(revisions, (base + 1..=base + 10).collect());
}

pub async fn a_range_never_sees_half_a_transaction(store: SharedStore) {
    let (stop, stopped) = watch::channel(false);
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..100 {
                let value = n.to_string();
                write(&*store, [put("a", &value), put("b", &value), put("c", &value)]).await;
            }
            stop.send(true).unwrap();
        })
    };
    while !*stopped.borrow() {
        let seen = store.range("").await.unwrap();
        let values: BTreeSet<_> =
            seen.iter().map(|entry| (&entry.value, entry.mod_revision)).collect();
        assert!(values.len() <= 1 && matches!(seen.len(), 0 | 3), "{seen:?}");
    }
    writer.await.unwrap();
}

pub async fn a_range_is_not_older_than_its_call(store: SharedStore) {
    for n in 0..50_u32 {
        let value = n.to_string();
        write(&*store, [put("a", &value)]).await;
        assert_eq!(get(&*store, "a").await.unwrap().value, value.as_bytes());
    }
}

pub async fn a_caller_that_goes_away_harms_nobody(store: SharedStore) {
    hand_over_and_go_away(&store, |n| put(&format!("left/{n}"), "")).await;
    write(&*store, [put("a", "1")]).await;
    // What was handed over is carried out, sooner or later.
    while store.range("left/").await.unwrap().len() < LEFT {
        tokio::task::yield_now().await;
    }
}

/// Of stores that this process has for itself.
pub async fn what_is_handed_over_before_is_carried_out_before(store: SharedStore) {
    hand_over_and_go_away(&store, |n| put("left", &n.to_string())).await;
    write(&*store, [put("a", "1")]).await;
    assert_eq!(get(&*store, "left").await.unwrap().value, (LEFT - 1).to_string().as_bytes());
}

/// Transactions that nobody waits for.
const LEFT: usize = 50;

async fn hand_over_and_go_away(store: &SharedStore, write: impl Fn(usize) -> Write) {
    for n in 0..LEFT {
        // Handed over and given up at once.
        let mut abandoned = pin!(store.txn(txn([], [write(n)])));
        std::future::poll_fn(|context| {
            let _ = abandoned.as_mut().poll(context);
            Poll::Ready(())
        })
        .await;
    }
}
