//! The samples of Salesforce's behaviour that the ledger must agree with.

use std::time::Duration;

use quotagate::quota::{Class, DenialReason};
use serde_json::Value;

use crate::bench::*;

fn samples(table: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../data/salesforce_samples.json")).unwrap();
    all[table].as_array().expect("a table").clone()
}

#[test]
fn every_limit_of_the_conversation_data_api_is_kept_per_user() {
    let operations = [
        ("GET /conversation-entries", READ, "entries"),
        (
            "DELETE /conversation-participants",
            "conversation-participants.delete",
            "participant-deletions",
        ),
        ("DELETE /conversations", DELETE, "conversation-deletions"),
    ];
    let rows = samples("conversation_data_api");
    assert_eq!(rows.len(), operations.len());
    for row in rows {
        let (_, operation, limit) = operations
            .into_iter()
            .find(|(name, ..)| row["op"] == *name)
            .unwrap_or_else(|| panic!("{} is no operation", row["op"]));
        assert_eq!(row["scope"], "execution_user");
        let max = u32::try_from(row["limit"].as_u64().unwrap()).unwrap();
        let window = secs(row["window_s"].as_u64().unwrap());
        let mut bench = Bench::of(org().pool(&["alice", "bob"]));
        for _ in 0..max {
            let permit = bench.grant(ask(operation).by("alice"));
            bench.report(&permit, answered(1));
        }
        let shown = bench.of_user("alice", limit);
        assert_eq!((shown.max, shown.window, shown.remaining), (u64::from(max), window, 0));
        let denial = bench.deny(ask(operation).by("alice"));
        assert_eq!(denial.reason, DenialReason::ExecutionUserLimit, "{operation}");
        assert_eq!(denial.retry_after, Some(window), "{operation}");
        bench.grant(ask(operation).by("bob").calls(max));
        bench.advance(window - ms(1));
        bench.deny(ask(operation).by("alice"));
        bench.advance(ms(1));
        bench.grant(ask(operation).by("alice").calls(max));
    }
}

#[test]
fn the_days_window_slides() {
    let mut checked = 0;
    for row in samples("rolling_window_vectors") {
        // Rows without calls tell what was observed, not what is to be computed.
        let Some(calls) = row["calls"].as_array() else { continue };
        let limit = row["limit"].as_u64().unwrap();
        assert_eq!(row["window_h"], 24);
        let mut bench = Bench::of(org().daily(limit));
        let start = bench.now.mono;
        let mut events: Vec<(Duration, Event)> = Vec::new();
        for call in calls {
            let units = call[1].as_u64().unwrap();
            let when = call[0].as_str().unwrap();
            match when.split_once("..") {
                None => events.push((moment(when), Event::Calls(units))),
                Some((from, to)) => {
                    let (from, to) = (moment(from), moment(to));
                    let parts = 90;
                    for part in 0..parts {
                        let middle = (to - from) * (2 * part + 1) / (2 * parts);
                        events.push((from + middle, Event::Calls(units / u64::from(parts))));
                    }
                }
            }
        }
        for assert in row["asserts"].as_array().unwrap() {
            assert_eq!(assert[1], "remaining");
            events.push((
                moment(assert[0].as_str().unwrap()),
                Event::Remaining(assert[2].as_u64().unwrap()),
            ));
        }
        events.sort_by_key(|(when, _)| *when);
        let first = events[0].0;
        for (when, event) in events {
            bench.advance(when - first - bench.now.mono.since(start));
            match event {
                Event::Calls(units) => {
                    let mut left = u32::try_from(units).unwrap();
                    while left > 0 {
                        let calls = left.min(10_000);
                        let permit = bench.grant(ask(REST).class(Class::Bulk).calls(calls));
                        bench.report(&permit, answered(calls));
                        left -= calls;
                    }
                }
                Event::Remaining(units) => {
                    assert_eq!(bench.total().remaining, units, "{} at {when:?}", row["id"]);
                    checked += 1;
                }
            }
        }
    }
    assert_eq!(checked, 4, "all assertions of w01 and w03");
}

enum Event {
    Calls(u64),
    Remaining(u64),
}

/// "Wed 05:00" or "D2 08:00", from the start of the first day.
fn moment(text: &str) -> Duration {
    let (day, time) = text.split_once(' ').expect("a day and a time");
    let days = ["D1", "D2", "Wed", "Thu"].iter().position(|name| *name == day).expect("a day") % 2;
    let (hours, minutes) = time.split_once(':').expect("hours and minutes");
    let minutes: u64 = hours.parse::<u64>().unwrap() * 60 + minutes.parse::<u64>().unwrap();
    DAY * u32::try_from(days).unwrap() + secs(minutes * 60)
}
