//! What the store answers late, or not at all, and settings that change in
//! between.

use quotagate::quota::{Answer, GroupWrite, Outcome, ReserveOutcome, Standing};

use crate::bench::*;

/// The reserve that the ledger wants now, as it is sent.
fn sent(bench: &mut Bench) -> Vec<GroupWrite> {
    assert!(bench.ledger.wants_reserve(bench.now.mono));
    bench.ledger.begin_reserve(bench.now, 126)
}

fn hears(bench: &mut Bench, writes: &[GroupWrite], outcome: &ReserveOutcome) {
    let standing = bench.ledger.finish_reserve(bench.now.mono, writes, outcome);
    assert_eq!(standing, Standing::Owner);
}

#[test]
fn a_block_ends_when_its_record_says_whatever_the_settings_say_by_then() {
    // A window of an hour or more has a horizon of 10 s, a shorter one of 3 s:
    // a block that was recorded for 3 s was granted from for 10.
    let reads = |window| catalogue(vec![(READ, vec![per_user("entries", 90, window)])]);
    let mut bench = Bench::with(org(), reads(MINUTE), Default::default());
    bench.withholds = true;
    let Answer::Parked(_) = bench.begin(ask(READ)) else { panic!("the store must be asked") };
    let writes = sent(&mut bench);
    bench.catalogue = reads(HOUR * 2);
    bench.configure();
    hears(&mut bench, &writes, &ReserveOutcome::Committed { revision: 7 });
    bench.ledger.pump(bench.now.mono);
    let granted = |bench: &mut Bench| {
        let answer = bench.ledger.clone().acquire(bench.now.mono, &ask(READ), 99, true);
        matches!(answer, Answer::Done(Outcome::Granted(_)))
    };
    let nobody = &quotagate::quota::Teller::anybody();
    let key = quotagate::quota::PermitKey(1);
    bench.ledger.release(bench.now.mono, key, None, nobody).expect("nobody is asked for a name");
    bench.now.mono = bench.now.mono + secs(3) - ms(1);
    assert!(granted(&mut bench), "within the block");
    bench.now.mono = bench.now.mono + ms(1);
    assert!(!granted(&mut bench), "after its end");
}

#[test]
fn what_a_hand_over_does_not_know_to_be_written_it_writes_again() {
    // A hand-over whose transaction was not answered took it for written, and
    // the open block was lost.
    let mut bench = Bench::of(org());
    bench.grant(ask(READ));
    bench.ledger.stop();
    let writes = bench.ledger.begin_hand_over(bench.now, 126);
    assert!(!writes.is_empty());
    hears(&mut bench, &writes, &ReserveOutcome::Unknown);
    let again = bench.ledger.begin_hand_over(bench.now, 126);
    let names = |writes: &[GroupWrite]| -> Vec<_> {
        writes.iter().map(|write| (write.group.clone(), write.expected_revision)).collect()
    };
    assert_eq!(names(&again), names(&writes), "the same compares");
    hears(&mut bench, &again, &ReserveOutcome::Committed { revision: 9 });
    assert!(bench.ledger.begin_hand_over(bench.now, 126).is_empty());
}

#[test]
fn a_record_whose_creation_may_still_come_is_not_deleted() {
    // Two attempts must not both be applied. A creation compares only that there
    // is no record, so a deletion let one in that was late.
    let mut bench = Bench::of(org());
    bench.withholds = true;
    let Answer::Parked(waiter) = bench.begin(ask(READ)) else { panic!("it must wait") };
    let creation = sent(&mut bench);
    assert_eq!(creation[0].expected_revision, 0);
    hears(&mut bench, &creation, &ReserveOutcome::Unknown);
    bench.cancel(waiter);
    bench.advance(MINUTE);
    let empty = sent(&mut bench);
    assert!(empty[0].record.is_some(), "written, if only to say nothing");
    hears(&mut bench, &empty, &ReserveOutcome::Committed { revision: 9 });
    bench.advance(MINUTE * 5);
    bench.ledger.sweep(bench.now.mono);
    assert!(!bench.ledger.wants_reserve(bench.now.mono), "it stays");
    bench.advance(MINUTE * 5);
    let deletion = sent(&mut bench);
    assert!(deletion[0].record.is_none(), "nothing is as late as that");
}

#[test]
fn a_permit_lives_no_longer_than_any_record_says_that_may_stand_by_then() {
    // The window shrinks and grows again while a reserve is in flight that has
    // recorded the short one: a takeover would seal the block by that.
    let reads = |window| catalogue(vec![(READ, vec![per_user("entries", 900, window)])]);
    let mut bench = Bench::with(org(), reads(secs(100)), Default::default());
    for _ in 0..40 {
        bench.grant(ask(READ));
    }
    bench.withholds = true;
    let asked = || ask(READ).lasting(MINUTE * 2);
    assert_eq!(bench.grant(asked()).life_left, secs(50));
    bench.catalogue = reads(secs(4));
    bench.configure();
    assert_eq!(bench.grant(asked()).life_left, secs(2));
    bench.advance(ms(1_500));
    let writes = sent(&mut bench);
    bench.catalogue = reads(secs(100));
    bench.configure();
    assert_eq!(bench.grant(asked()).life_left, secs(2), "it may be applied");
    hears(&mut bench, &writes, &ReserveOutcome::NotExecuted);
    assert_eq!(bench.grant(asked()).life_left, secs(50), "it never will be");
}
