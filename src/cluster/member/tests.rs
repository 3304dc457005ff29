//! Scenarios with one member and with a few, and chance.

mod model;
mod random;
mod solo;

use std::{collections::BTreeSet, slice, time::Duration};

use model::{Cluster, Link};
use solo::{LEASE, Solo, drop_of, node, owner, shard, shards_of};

use super::*;
use crate::store::{
    KeyValue, Listing, Record,
    records::{FORMAT, GenerationRecord},
};

/// As in production, where nothing depends on it.
const TIMING: Timing = Timing {
    ttl: Duration::from_secs(10),
    margin: Duration::from_secs(2),
    rank_delay: Duration::from_secs(1),
    stable_for: Duration::from_secs(10),
    moves_at_a_time: 4,
    unhurried: Duration::from_secs(3),
    drains_at_a_time: 16,
    takes_at_a_time: 32,
    retry: Duration::from_millis(500),
};

fn record(name: &str, incarnation: &str) -> NodeRecord {
    NodeRecord {
        address: format!("{name}:8080"),
        peer_address: format!("{name}:8081"),
        incarnation: incarnation.to_owned(),
        version: "1.0.0".to_owned(),
        draining: false,
    }
}

fn generation(id: &str) -> GenerationRecord {
    let created_by = "1.0.0".to_owned();
    GenerationRecord { id: id.to_owned(), shards: u32::from(SHARDS), created_by }
}

fn entry(key: &Key, record: &impl Record, revision: u64) -> KeyValue {
    KeyValue {
        key: key.to_string(),
        value: record.encode(),
        create_revision: revision,
        mod_revision: revision,
    }
}

// One member: its session.

#[test]
fn a_session_lasts_from_the_sending_for_the_ttl_less_the_margin() {
    let mut solo = Solo::new();
    let sent = solo.now;
    solo.now = sent + Duration::from_secs(1);
    let effects = solo.tell(Event::Granted { sent, lease: Some(LEASE) });
    let until = sent + TIMING.ttl - TIMING.margin;
    assert_eq!(effects[0], Effect::SessionUntil(until));
    assert_eq!(solo.member.session_until(), Some(until));
    let incarnation = solo.member.incarnation();
    assert!(incarnation.len() == 16 && incarnation.chars().all(|c| c.is_ascii_hexdigit()));

    // Each answer counts from its own sending, in whatever order they come.
    let later = sent + Duration::from_secs(3);
    solo.now = later + Duration::from_secs(1);
    let kept = |sent, alive| Event::KeptAlive { lease: LEASE, sent, alive };
    let longer = Effect::SessionUntil(later + TIMING.ttl - TIMING.margin);
    assert_eq!(solo.tell(kept(later, Some(true))), [longer, Effect::KeepAlive(LEASE)]);
    assert_eq!(solo.tell(kept(sent, Some(true))), []);
    assert_eq!(solo.tell(kept(solo.now, None)), []);
    let other = Event::KeptAlive { lease: LeaseId(99), sent: solo.now, alive: Some(false) };
    assert_eq!(solo.tell(other), []);
}

#[test]
fn keep_alives_go_on_without_answers_until_the_session_is_over() {
    let mut solo = Solo::registered();
    let third = 3333;
    let effects = solo.pass(8400);
    let (over, rest): (Vec<_>, Vec<_>) = effects.into_iter().partition(|(ms, _)| *ms >= 9000);
    let sent: Vec<u64> = rest.iter().map(|(ms, _)| *ms).collect();
    assert_eq!(sent, [1000 + third, 1000 + 2 * third]);
    assert!(rest.iter().all(|(_, effect)| *effect == Effect::KeepAlive(LEASE)), "{rest:?}");
    let end = [Effect::SessionUntil(Mono(9_000_000)), Effect::Revoke(LEASE)];
    assert_eq!(over.into_iter().map(|(_, effect)| effect).collect::<Vec<_>>(), end);
}

#[test]
fn what_ends_a_session_ends_it_for_ever() {
    let (s, e) = (shard(3), 100);
    let gone = Changed::Deleted { key: Key::ShardOwner(s).to_string(), revision: 101 };
    let all = |prefix, revision, entries| Event::Watched {
        prefix,
        told: Watched::All(Listing { revision, entries }),
    };
    let put = |prefix, entry| Event::Watched {
        prefix,
        told: Watched::Changes(vec![Changed::Put(entry)]),
    };
    for event in [
        Event::KeptAlive { lease: LEASE, sent: Mono(1_000_001), alive: Some(false) },
        Event::Fenced { shard: s, epoch: e },
        Event::WentBack,
        Event::Watched { prefix: OWNERS, told: Watched::Changes(vec![gone]) },
        put(OWNERS, owner(s, "you", "theirs", 101)),
        all(OWNERS, 101, Vec::new()),
        put(META, entry(&Key::Generation, &generation("another"), 101)),
        all(META, 101, Vec::new()),
    ] {
        let mut solo = Solo::serving([3]);
        let incarnation = solo.member.incarnation().to_owned();
        assert_eq!(solo.tell(event.clone()), solo.death(&[(3, 100)]), "{event:?}");
        assert_eq!((solo.served(), solo.member.session_until()), (vec![], None), "{event:?}");

        // Late answers about the dead lease are of no use to it.
        let lease = LEASE;
        for late in [
            Event::KeptAlive { lease, sent: solo.now, alive: Some(true) },
            Event::Taken { shard: s, lease, outcome: Taking::Done(102) },
            Event::Registered { lease, outcome: Registration::Done(103) },
            Event::HandedOver { shard: s, epoch: e },
            Event::Fenced { shard: s, epoch: e },
            Event::Broken { shard: s, epoch: e },
        ] {
            assert_eq!(solo.tell(late.clone()), [], "{late:?} after {event:?}");
        }

        // The next session comes when the old lease is revoked, and is another.
        assert_eq!(solo.tell(Event::Revoked { lease }), [Effect::Grant]);
        solo.granted(LeaseId(8));
        assert_ne!(solo.member.incarnation(), incarnation);
        assert_eq!(solo.tell(Event::KeptAlive { lease, sent: solo.now, alive: Some(false) }), []);
    }
}

#[test]
fn what_was_so_before_the_shard_was_taken_ends_nothing() {
    let mut solo = Solo::serving([3]);
    let s = shard(3);
    for (revision, listed) in [(99, None), (100, Some(100)), (150, Some(100))] {
        let entries = listed.map(|epoch| solo.own_owner(s, epoch)).into_iter().collect();
        solo.list_as_of(OWNERS, revision, entries);
        assert_eq!(solo.served(), [(3, 100)], "as of {revision}");
    }
    assert_eq!(solo.vacated(s, 99), []);
    assert_eq!(solo.tell(Event::Fenced { shard: s, epoch: 99 }), []);
    assert_eq!(solo.tell(Event::Fenced { shard: shard(4), epoch: 100 }), []);
    assert_eq!(solo.served(), [(3, 100)]);
}

#[test]
fn a_lease_that_comes_too_late_is_given_back() {
    // Its time is over before it comes.
    let mut solo = Solo::new();
    let sent = solo.now;
    solo.now = sent + Duration::from_millis(4900);
    let slow = Timing { ttl: Duration::from_secs(6), ..TIMING };
    solo.member.timing = slow;
    solo.member.standing = Standing::Asked { at: sent };
    let effects = solo.tell(Event::Granted { sent, lease: Some(LEASE) });
    assert!(effects.contains(&Effect::Revoke(LEASE)), "{effects:?}");
    assert_eq!(solo.member.session_until(), None);

    // The request was given up, and another was made.
    let mut solo = Solo::new();
    let sent = solo.now;
    let again = solo.pass(6000);
    assert!(matches!(again[..], [(6500..=7000, Effect::Grant)]), "{again:?}");
    let late = Event::Granted { sent, lease: Some(LEASE) };
    assert_eq!(solo.tell(late.clone()), [Effect::Revoke(LEASE)]);
    solo.granted(LeaseId(8));
    assert_eq!(solo.tell(late), [Effect::Revoke(LEASE)]);
    let twice = Event::Granted { sent: solo.now, lease: Some(LeaseId(8)) };
    assert_eq!(solo.tell(twice), []);
}

#[test]
fn a_store_that_grants_no_lease_is_asked_again_and_again() {
    let mut solo = Solo::new();
    for _ in 0..20 {
        assert_eq!(solo.tell(Event::Granted { sent: solo.now, lease: None }), []);
        let asked = solo.now.0 / 1000;
        let effects = solo.pass(1000);
        let [(ms, Effect::Grant)] = effects[..] else { panic!("{effects:?}") };
        assert!((500..=1000).contains(&(ms - asked)), "{ms}");
        solo.now = Mono(ms * 1000 + 999);
    }
    let problem = solo.member.problem().unwrap();
    assert!(problem.contains("the store does not answer"), "{problem}");
}

#[test]
fn a_lease_that_cannot_be_revoked_is_not_waited_for() {
    let mut solo = Solo::registered();
    let death = solo.death(&[]);
    assert_eq!(solo.tell(Event::WentBack), death);
    let began = solo.now.0 / 1000;
    assert_eq!(solo.pass(500), [(began + 500, Effect::Grant)]);
}

// One member: its registration.

#[test]
fn the_node_key_is_put_until_it_stands() {
    let told = |outcome| Event::Registered { lease: LEASE, outcome };
    let mut solo = Solo::with_session();
    let begun = solo.now.0 / 1000;
    let register = solo.register(LEASE, 0, false);

    // A former session's, or another process's.
    solo.changed(node("me", "another", 9));
    assert_eq!(solo.tell(told(Registration::Taken)), []);
    let problem = solo.member.problem().unwrap();
    assert!(problem.contains("another process is registered under the name me"), "{problem}");
    assert_eq!(solo.pass(500), [(begun + 500, register.clone())]);
    assert_eq!(solo.tell(told(Registration::Unknown)), []);
    assert_eq!(solo.pass(500), [(begun + 1000, register.clone())]);

    // Nobody says what became of it.
    assert_eq!(solo.pass_quietly(5000), [(begun + 6000, register)]);

    // The watch tells it first.
    assert_eq!(solo.changed(solo.own_node(11, false)), []);
    assert_eq!(solo.member.problem(), None);
    assert_eq!(solo.tell(told(Registration::Taken)), []);
    assert_eq!(solo.tell(told(Registration::Done(11))), []);
    assert_eq!(solo.pass_quietly(1500), []);
}

#[test]
fn draining_is_said_in_the_node_key() {
    let told = |outcome| Event::Registered { lease: LEASE, outcome };
    let mut solo = Solo::registered();
    assert_eq!(solo.tell(Event::Drain(true)), [solo.register(LEASE, 10, true)]);
    assert!(solo.member.is_draining() && solo.member.is_drained(), "it owned nothing");
    assert_eq!(solo.tell(Event::Drain(false)), [], "one request at a time");
    assert_eq!(solo.tell(told(Registration::Done(12))), [solo.register(LEASE, 12, false)]);
    // The answer was lost; the watch has it.
    assert_eq!(solo.tell(told(Registration::Unknown)), []);
    assert_eq!(solo.changed(solo.own_node(12, true)), []);
    assert_eq!(solo.changed(solo.own_node(13, false)), []);
    assert_eq!(solo.pass_quietly(1000), []);
}

#[test]
fn a_node_key_that_goes_is_put_again() {
    let mut solo = Solo::registered();
    let key = Key::Node("me".to_owned()).to_string();
    let gone = |revision| {
        let told = Watched::Changes(vec![Changed::Deleted { key: key.clone(), revision }]);
        Event::Watched { prefix: NODES, told }
    };
    assert_eq!(solo.tell(gone(9)), [], "before it was put");
    let now = solo.now.0 / 1000;
    assert_eq!(solo.tell(gone(20)), []);
    assert_eq!(solo.pass_quietly(500), [(now + 500, solo.register(LEASE, 0, false))]);
}

// One member: taking, recovering, giving back.

#[test]
fn nothing_is_taken_before_everything_is_known() {
    let vacate = |solo: &mut Solo| solo.vacated(shard(3), 20);

    let mut solo = Solo::with_session();
    assert_eq!(vacate(&mut solo), [], "it is not registered");
    solo.tell(Event::Registered { lease: LEASE, outcome: Registration::Done(10) });
    assert_eq!(solo.effects(), [], "the view does not have it");
    assert_eq!(solo.changed(solo.own_node(10, false)), [solo.take(shard(3), 0)]);

    let mut solo = Solo::new();
    solo.granted(LEASE);
    solo.tell(Event::Registered { lease: LEASE, outcome: Registration::Done(10) });
    solo.list(NODES, vec![solo.own_node(10, false)]);
    assert_eq!(solo.list(OWNERS, vec![]), [], "nobody has said that there is a cluster");
    assert_eq!(solo.list(META, vec![]), []);
    let problem = solo.member.problem().unwrap();
    assert!(problem.contains("--create-cluster"), "{problem}");
    let other = GenerationRecord { shards: 128, ..generation("g") };
    assert_eq!(solo.changed(entry(&Key::Generation, &other, 30)), []);
    let problem = solo.member.problem().unwrap();
    assert!(problem.contains("128 shards"), "{problem}");

    let mut solo = Solo::registered();
    solo.tell(Event::Drain(true));
    assert_eq!(vacate(&mut solo), [], "it drains");
}

#[test]
fn an_owner_key_that_cannot_be_read_is_somebodys() {
    let mut solo = Solo::registered();
    let mut strange = owner(shard(3), "you", "theirs", 20);
    strange.value[1] = u8::try_from(FORMAT + 1).unwrap();
    assert_eq!(solo.changed(strange), []);
    assert_eq!(solo.pass_quietly(2000), []);
    let problem = solo.member.problem().unwrap();
    assert!(problem.starts_with("the value of owners/3 cannot be used"), "{problem}");
}

#[test]
fn a_take_that_fails_is_tried_again_after_a_while() {
    for (outcome, wait) in
        [(Some(Taking::NotExecuted), 500), (Some(Taking::Conflict), 500), (None, 5000)]
    {
        let mut solo = Solo::registered();
        let now = solo.now.0 / 1000;
        let take = solo.take(shard(3), 0);
        assert_eq!(solo.vacated(shard(3), 20)[..], *slice::from_ref(&take));
        if let Some(outcome) = outcome {
            assert_eq!(solo.taken(shard(3), outcome), []);
        }
        assert_eq!(solo.pass_quietly(wait), [(now + wait, take)], "{outcome:?}");
    }
    // Not while the view has an owner.
    let mut solo = Solo::registered();
    solo.vacated(shard(3), 20);
    assert_eq!(solo.changed(owner(shard(3), "you", "theirs", 21)), []);
    assert_eq!(solo.taken(shard(3), Taking::Conflict), []);
    assert_eq!(solo.pass_quietly(2000), []);
}

#[test]
fn a_key_that_is_ours_is_recovered_whoever_tells_of_it() {
    let recover = |epoch| Effect::Recover { shard: shard(3), epoch };
    // The watch, instead of the answer.
    let mut solo = Solo::registered();
    solo.vacated(shard(3), 20);
    assert_eq!(solo.taken(shard(3), Taking::Unknown), []);
    assert_eq!(solo.changed(solo.own_owner(shard(3), 21)), [recover(21)]);
    assert_eq!(solo.taken(shard(3), Taking::Done(21)), [], "once is enough");

    // The watch, before the answer.
    let mut solo = Solo::registered();
    solo.vacated(shard(3), 20);
    assert_eq!(solo.changed(solo.own_owner(shard(3), 21)), [recover(21)]);
    assert_eq!(solo.taken(shard(3), Taking::Done(21)), []);
    assert_eq!(solo.recovered(shard(3), 21, Recovery::Done), []);
    assert_eq!(solo.served(), [(3, 21)]);

    // A late answer.
    let mut solo = Solo::registered();
    solo.vacated(shard(3), 20);
    solo.pass_quietly(5000);
    solo.taken(shard(3), Taking::Conflict);
    assert_eq!(solo.taken(shard(3), Taking::Done(21)), [recover(21)]);

    // Not a former session's.
    let mut solo = Solo::registered();
    assert_eq!(solo.changed(owner(shard(3), "me", "former", 21)), []);
    assert_eq!(solo.pass_quietly(2000), []);
}

#[test]
fn recovery_goes_on_until_the_store_answers() {
    let mut solo = Solo::registered();
    let now = solo.now.0 / 1000;
    let recover = Effect::Recover { shard: shard(3), epoch: 21 };
    solo.vacated(shard(3), 20);
    assert_eq!(solo.taken(shard(3), Taking::Done(21))[..], *slice::from_ref(&recover));
    assert_eq!(solo.recovered(shard(3), 21, Recovery::Unreachable), []);
    assert_eq!(solo.pass_quietly(500), [(now + 500, recover)]);
    assert_eq!(solo.pass_quietly(4000), [], "it is never read twice at once");
    solo.recovered(shard(3), 21, Recovery::Done);
    assert_eq!(solo.served(), [(3, 21)]);
}

#[test]
fn records_that_cannot_be_used_are_left_to_others() {
    let mut solo = Solo::registered();
    solo.vacated(shard(3), 20);
    solo.taken(shard(3), Taking::Done(21));
    let give = Effect::HandOver { shard: shard(3), epoch: 21 };
    assert_eq!(solo.recovered(shard(3), 21, Recovery::Unusable), [give]);
    assert_eq!(solo.tell(Event::HandedOver { shard: shard(3), epoch: 21 }), []);
    let problem = solo.member.problem().unwrap();
    assert!(problem.ends_with("of these shards: 3"), "{problem}");
    for _ in 0..19 {
        assert_eq!(solo.pass_quietly(3000), []);
        solo.kept_alive();
    }
    let again = solo.pass_quietly(3000);
    assert!(matches!(again[..], [(61_000, Effect::Take { .. })]), "{again:?}");
    solo.taken(shard(3), Taking::Done(30));
    solo.recovered(shard(3), 30, Recovery::Done);
    assert_eq!(solo.member.problem(), None);
}

// The first request can break a ledger before the word that the shard is served
// has come: the shard was held for served, and nobody served it.
#[test]
fn a_shard_that_breaks_at_once_is_taken_anew() {
    let mut solo = Solo::registered();
    solo.vacated(shard(3), 20);
    solo.taken(shard(3), Taking::Done(21));
    let broken = Event::Broken { shard: shard(3), epoch: 21 };
    assert_eq!(solo.tell(broken), [solo.take(shard(3), 21)]);
    assert_eq!(solo.recovered(shard(3), 21, Recovery::Done), []);
    assert_eq!(solo.served(), []);
}

#[test]
fn ledgers_that_nobody_rules_are_dropped() {
    let mut solo = Solo::registered();
    solo.vacated(shard(3), 20);
    solo.taken(shard(3), Taking::Done(21));
    assert_eq!(solo.tell(Event::WentBack), solo.death(&[(3, 21)]));
    assert_eq!(solo.recovered(shard(3), 21, Recovery::Done), [drop_of(3, 21)]);
    assert_eq!(solo.recovered(shard(3), 21, Recovery::Unreachable), []);
}

#[test]
fn a_broken_shard_is_taken_in_a_new_epoch() {
    let broken = Event::Broken { shard: shard(3), epoch: 100 };
    let recover = Effect::Recover { shard: shard(3), epoch: 110 };
    let begin = || {
        let mut solo = Solo::serving([3]);
        assert_eq!(solo.tell(broken.clone()), [solo.take(shard(3), 100)]);
        assert_eq!(solo.served(), []);
        solo
    };
    let mut solo = begin();
    assert_eq!(solo.tell(Event::Fenced { shard: shard(3), epoch: 100 }), [], "by the take");
    let done = solo.taken(shard(3), Taking::Done(110));
    assert_eq!(done, [drop_of(3, 100), recover.clone()]);
    assert_eq!(solo.changed(solo.own_owner(shard(3), 110)), []);
    solo.recovered(shard(3), 110, Recovery::Done);
    assert_eq!(solo.served(), [(3, 110)]);

    // The key that is ours and nobody else may replace was replaced.
    let mut solo = begin();
    assert_eq!(solo.taken(shard(3), Taking::Conflict), solo.death(&[(3, 100)]));

    // By ourselves, perhaps: the watch tells.
    let mut solo = begin();
    let now = solo.now.0 / 1000;
    assert_eq!(solo.taken(shard(3), Taking::Unknown), []);
    assert_eq!(solo.pass_quietly(500), [(now + 500, solo.take(shard(3), 100))]);
    assert_eq!(solo.taken(shard(3), Taking::Conflict), []);
    assert_eq!(solo.changed(solo.own_owner(shard(3), 110)), [drop_of(3, 100), recover]);

    // It was somebody else.
    let mut solo = begin();
    assert_eq!(solo.taken(shard(3), Taking::Unknown), []);
    assert_eq!(solo.vacated(shard(3), 111), solo.death(&[(3, 100)]));
}

// One member: giving away.

#[test]
fn a_shard_is_handed_over_to_the_node_that_ought_to_own_it_once_all_is_calm() {
    let theirs: Vec<u16> = shards_of("you").into_iter().take(6).collect();
    let ours = *shards_of("me").first().unwrap();
    let mut solo = Solo::serving(theirs.iter().copied().chain([ours]));
    assert_eq!(solo.changed(node("you", "a", 200)), []);
    let mut calm_from = solo.now.0 / 1000;
    let wait = |solo: &mut Solo, ms: u64| {
        let mut effects = Vec::new();
        for _ in 0..ms / 2500 {
            effects.extend(solo.pass_quietly(2500));
            solo.kept_alive();
        }
        effects
    };
    assert_eq!(wait(&mut solo, 7500), []);
    // Another life of it: the calm begins anew.
    assert_eq!(solo.changed(node("you", "b", 201)), []);
    calm_from += 7500;
    let moved: Vec<_> = theirs[..4]
        .iter()
        .zip(100..)
        .map(|(&n, epoch)| (calm_from + 10_000, Effect::HandOver { shard: shard(n), epoch }))
        .collect();
    assert_eq!(wait(&mut solo, 10_000), moved);

    // One is through, the next follows.
    let first = shard(theirs[0]);
    assert_eq!(solo.vacated(first, 300), [], "not before the ledgers are gone");
    let next = Effect::HandOver { shard: shard(theirs[4]), epoch: 104 };
    assert_eq!(solo.tell(Event::HandedOver { shard: first, epoch: 100 }), [next]);
    // A transaction that the deletion fenced off is no news.
    assert_eq!(solo.tell(Event::Fenced { shard: shard(theirs[1]), epoch: 101 }), []);

    // Nobody takes it: it comes back, and stays.
    let now = solo.now.0 / 1000;
    assert_eq!(wait(&mut solo, 2500)[..], [(now + 2000, solo.take(first, 0))]);
    solo.taken(first, Taking::Done(301));
    solo.recovered(first, 301, Recovery::Done);
    assert_eq!(wait(&mut solo, 50_000), []);
    assert!(solo.served().contains(&(theirs[0], 301)));
}

#[test]
fn a_draining_node_gives_everything_away_once_the_others_know() {
    let told = |outcome| Event::Registered { lease: LEASE, outcome };
    let numbers: Vec<u16> = (0..20).collect();
    let mut solo = Solo::serving(numbers);
    let begun = solo.now.0 / 1000;
    assert_eq!(solo.tell(Event::Drain(true)), [solo.register(LEASE, 10, true)]);
    let give = |n| Effect::HandOver { shard: shard(n), epoch: 100 + u64::from(n) };
    let given = solo.tell(told(Registration::Done(150)));
    assert_eq!(given, (0..4).map(give).collect::<Vec<_>>());
    assert_eq!(solo.tell(Event::HandedOver { shard: shard(0), epoch: 100 }), [give(4)]);
    solo.vacated(shard(0), 200);
    // It takes long: now it hurries.
    let hurried: Vec<_> = (5..17).map(|n| (begun + 3000, give(n))).collect();
    assert_eq!(solo.pass_quietly(3000), hurried);
    for n in 1..20 {
        assert!(!solo.member.is_drained());
        solo.tell(Event::HandedOver { shard: shard(n), epoch: 100 + u64::from(n) });
        solo.vacated(shard(n), 200 + u64::from(n));
    }
    assert!(solo.member.is_drained());
    assert_eq!(solo.pass_quietly(2000), [], "it takes nothing back");
    solo.kept_alive();

    let until = solo.until();
    solo.member.leave(solo.now);
    assert!(!solo.member.has_left());
    assert_eq!(solo.effects(), [Effect::SessionUntil(solo.now), Effect::Revoke(LEASE)]);
    assert!(until > solo.now && !solo.member.has_left());
    assert_eq!(solo.tell(Event::Revoked { lease: LEASE }), []);
    assert!(solo.member.has_left());
    assert_eq!(solo.tell(Event::Granted { sent: solo.now, lease: Some(LeaseId(9)) }), []);
    assert_eq!(solo.pass(60_000), []);

    // Where the store does not answer, the others may not know.
    let mut solo = Solo::serving([3]);
    solo.tell(Event::Drain(true));
    let give = Effect::HandOver { shard: shard(3), epoch: 100 };
    assert_eq!(solo.pass_quietly(1000), [(begun + 1000, give)]);
}

#[test]
fn shards_on_their_way_in_are_given_away_when_they_are_through() {
    let give = |epoch| Effect::HandOver { shard: shard(3), epoch };
    let begin = |ready: bool| {
        let mut solo = if ready { Solo::serving([3]) } else { Solo::registered() };
        if ready {
            solo.tell(Event::Broken { shard: shard(3), epoch: 100 });
        } else {
            solo.vacated(shard(3), 20);
        }
        (solo.now.0 / 1000, solo)
    };
    let drain = |solo: &mut Solo| {
        solo.tell(Event::Drain(true));
        solo.tell(Event::Registered { lease: LEASE, outcome: Registration::Done(1000) })
    };

    let (_, mut solo) = begin(false);
    assert_eq!(drain(&mut solo), []);
    assert!(!solo.member.is_drained());
    assert_eq!(solo.taken(shard(3), Taking::Done(21)), [give(21)]);

    let (_, mut solo) = begin(false);
    solo.taken(shard(3), Taking::Done(21));
    assert_eq!(drain(&mut solo), []);
    assert_eq!(solo.recovered(shard(3), 21, Recovery::Done), [give(21)]);

    let (_, mut solo) = begin(false);
    solo.taken(shard(3), Taking::Done(21));
    solo.recovered(shard(3), 21, Recovery::Unreachable);
    assert_eq!(drain(&mut solo), [give(21)]);

    let (_, mut solo) = begin(true);
    solo.taken(shard(3), Taking::NotExecuted);
    assert_eq!(drain(&mut solo), [drop_of(3, 100), give(100)]);

    let (_, mut solo) = begin(true);
    assert_eq!(drain(&mut solo), []);
    assert_eq!(solo.taken(shard(3), Taking::Done(110)), [drop_of(3, 100), give(110)]);

    // Nobody knows: it comes to light later.
    let (_, mut solo) = begin(false);
    assert_eq!(drain(&mut solo), []);
    assert_eq!(solo.taken(shard(3), Taking::Unknown), []);
    assert!(solo.member.is_drained());
    assert_eq!(solo.changed(solo.own_owner(shard(3), 21)), [give(21)]);
    assert!(!solo.member.is_drained());
}

#[test]
fn a_key_that_stays_after_a_hand_over_is_given_back_again() {
    let mut solo = Solo::serving([3]);
    let give = Effect::HandOver { shard: shard(3), epoch: 100 };
    solo.tell(Event::Drain(true));
    solo.tell(Event::Registered { lease: LEASE, outcome: Registration::Done(150) });
    let now = solo.now.0 / 1000;
    solo.tell(Event::HandedOver { shard: shard(3), epoch: 100 });
    assert_eq!(solo.pass_quietly(500), [(now + 500, give.clone())]);
    assert!(solo.member.is_drained(), "nothing of it is left but a key");
    solo.tell(Event::HandedOver { shard: shard(3), epoch: 100 });
    assert_eq!(solo.pass_quietly(500), [(now + 1000, give)]);
    solo.vacated(shard(3), 151);
    solo.tell(Event::HandedOver { shard: shard(3), epoch: 100 });
    assert_eq!(solo.pass_quietly(1500), []);
}

#[test]
fn leaving_ends_with_the_revocation_wherever_it_begins() {
    let mut solo = Solo::serving([3]);
    solo.member.leave(solo.now);
    assert_eq!(solo.effects(), solo.death(&[(3, 100)]));
    // The store does not answer.
    assert_eq!(solo.pass(5000), []);
    assert!(solo.member.has_left());

    let mut solo = Solo::new();
    solo.member.leave(solo.now);
    assert_eq!(solo.effects(), []);
    assert!(solo.member.has_left());

    let mut solo = Solo::registered();
    solo.tell(Event::WentBack);
    solo.member.leave(solo.now);
    assert_eq!((solo.effects(), solo.member.has_left()), (vec![], false));
    assert_eq!(solo.tell(Event::Revoked { lease: LEASE }), []);
    assert!(solo.member.has_left());
}

// A few members.

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn nodes_that_start_together_share_the_shards() {
    let mut cluster = Cluster::of(&["a"]);
    cluster.run(Duration::ZERO);
    assert!(cluster.is_whole(), "one node has all of them, at once");

    let mut cluster = Cluster::of(&["a", "b", "c"]);
    cluster.run(SECOND * 20);
    assert!(cluster.is_balanced());
    for (name, share) in cluster.shares() {
        assert!((50..120).contains(&share.len()), "{name} has {}", share.len());
        let node = cluster.running().find(|node| node.name == name).unwrap();
        assert_eq!(node.member.problem(), None, "{name}");
    }
}

#[test]
fn a_joining_node_gets_its_share_and_nothing_else_moves() {
    let mut cluster = Cluster::of(&["a", "b"]);
    cluster.run(SECOND * 20);
    let before: BTreeSet<u16> = cluster.shares()["a"].clone();
    let moves = cluster.moves;
    cluster.start("c");
    cluster.run(TIMING.stable_for - Duration::from_millis(1));
    assert_eq!(cluster.moves, moves, "nothing moves before membership is stable");
    cluster.run(SECOND);
    assert!(cluster.is_balanced());
    let shares = cluster.shares();
    assert!(shares["a"].is_subset(&before));
    assert_eq!(cluster.moves - moves, shares["c"].len());
}

#[test]
fn the_shards_of_a_node_that_crashes_are_taken_within_a_second_of_its_lease() {
    let mut cluster = Cluster::of(&["a", "b", "c"]);
    cluster.run(SECOND * 20);
    let moves = cluster.moves;
    cluster.crash(1);
    let took = cluster.run_until(Cluster::is_whole);
    assert!(took <= TIMING.ttl + SECOND, "{took:?}");
    assert!(cluster.is_balanced());
    assert_eq!(cluster.moves, moves, "nothing else moves");

    // Its next life waits for the end of its old keys, and is given its share.
    cluster.start("b");
    let took = cluster.run_until(Cluster::is_balanced);
    assert!(took <= TIMING.stable_for + SECOND, "{took:?}");
}

#[test]
fn a_node_that_restarts_at_once_waits_for_the_end_of_its_old_keys() {
    let mut cluster = Cluster::of(&["a"]);
    cluster.run(SECOND * 20);
    cluster.crash(0);
    cluster.start("a");
    cluster.run(Duration::from_millis(100));
    let problem = cluster.nodes[1].member.problem().unwrap();
    assert!(problem.contains("another process is registered under the name a"), "{problem}");
    let took = cluster.run_until(Cluster::is_whole);
    assert!(took <= TIMING.ttl + SECOND, "{took:?}");
}

#[test]
fn a_draining_node_is_relieved_at_once() {
    let mut cluster = Cluster::of(&["a", "b", "c"]);
    cluster.run(SECOND * 20);
    cluster.tell(0, Event::Drain(true));
    cluster.run(Duration::ZERO);
    assert!(cluster.nodes[0].member.is_drained());
    assert!(cluster.is_whole(), "the others have them already");
    cluster.run(SECOND * 30);
    assert!(cluster.shares()["a"].is_empty());

    cluster.tell(0, Event::Drain(false));
    cluster.run(SECOND * 30);
    assert!(cluster.is_balanced(), "it takes part again");

    cluster.tell(0, Event::Drain(true));
    cluster.run(Duration::ZERO);
    cluster.leave(0);
    assert!(cluster.is_balanced());
}

#[test]
fn a_node_that_is_cut_off_ends_its_session_and_comes_back_with_another() {
    let mut cluster = Cluster::of(&["a", "b", "c"]);
    cluster.run(SECOND * 20);
    let incarnation = cluster.nodes[0].member.incarnation().to_owned();
    cluster.nodes[0].link = Link::Cut;
    let took = cluster.run_until(|cluster| cluster.shares()["a"].is_empty());
    assert!(took <= TIMING.ttl - TIMING.margin, "{took:?}");
    let problem = cluster.nodes[0].member.problem().unwrap();
    assert!(problem.contains("no session"), "{problem}");
    cluster.run_until(Cluster::is_whole);

    cluster.nodes[0].link = Link::Good;
    cluster.run(SECOND * 30);
    assert!(cluster.is_balanced());
    assert_ne!(cluster.nodes[0].member.incarnation(), incarnation);
}

#[test]
fn a_node_whose_answers_are_lost_serves_what_the_watch_shows() {
    let mut cluster = Cluster::of(&["a", "b"]);
    cluster.run(SECOND * 20);
    // Long enough to lose the answers of takes, not to lose the session.
    cluster.nodes[0].link = Link::Deaf;
    cluster.tell(1, Event::Drain(true));
    cluster.run(SECOND * 3);
    assert!(cluster.nodes[1].member.is_drained());
    cluster.nodes[0].link = Link::Good;
    let took = cluster.run_until(Cluster::is_whole);
    assert!(took <= TIMING.retry, "{took:?}");
}

#[test]
fn a_shard_that_its_owner_cannot_use_stays_with_another() {
    let mut cluster = Cluster::of(&["a", "b"]);
    let number = *cluster_share("a", &["a", "b"]).first().unwrap();
    cluster.nodes[0].unusable.insert(shard(number));
    cluster.run(SECOND * 5);
    assert!(cluster.is_whole() && cluster.shares()["b"].contains(&number));
    let moves = cluster.moves;
    cluster.run(SECOND * 600);
    // Once in a while it is tried again.
    assert!(cluster.moves - moves <= 2 * 10, "{} moves", cluster.moves - moves);
    assert!(cluster.is_whole());
}

#[test]
fn nothing_is_served_without_a_generation_nor_over_its_change() {
    let mut cluster = Cluster::of(&["a", "b"]);
    cluster.run(SECOND * 20);
    let session = |cluster: &Cluster| cluster.nodes[0].member.incarnation().to_owned();
    let before = session(&cluster);
    cluster.unmake();
    cluster.run(SECOND * 20);
    assert_eq!(cluster.generation(), None);
    assert!(cluster.shares().values().all(BTreeSet::is_empty));
    let problem = cluster.nodes[0].member.problem().unwrap();
    assert!(problem.contains("there is no cluster"), "{problem}");

    cluster.make("second");
    cluster.run(SECOND * 20);
    assert!(cluster.is_balanced());
    let between = session(&cluster);
    cluster.make("third");
    cluster.run(SECOND * 20);
    assert!(cluster.is_balanced());
    let after = session(&cluster);
    assert!(before != between && between != after, "{before} {between} {after}");
}

fn cluster_share(name: &str, names: &[&str]) -> Vec<u16> {
    let is_first = |shard: &Shard| placement::rank(*shard, name, names.iter().copied()) == 0;
    Shard::all().filter(is_first).map(Shard::number).collect()
}
