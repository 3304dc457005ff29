//! Attribution against lists of everything that happened.

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::*;

const NOW: Now = Now { mono: Mono(5_000_000), wall: Wall(1_800_000_000_000_000) };

fn workspace(name: usize) -> WorkspaceId {
    WorkspaceId::parse(&format!("w{name}")).expect("a name")
}

fn origin(name: usize, cost: u32) -> Origin {
    origin_with(name, cost, |_| {})
}

fn origin_with(name: usize, cost: u32, set: impl FnOnce(&mut Facts)) -> Origin {
    let mut facts = Facts {
        workspace: Some(workspace(name)),
        class: Class::ALL[name % 4],
        operation: OperationId::parse("rest").expect("a name"),
        caller: None,
        cost,
    };
    set(&mut facts);
    Origin(Arc::new(facts))
}

fn after(seconds: u64) -> Mono {
    NOW.mono + Duration::from_secs(seconds)
}

fn used(units: u64, calls: u64, refused_calls: u64) -> Use {
    Use { units, calls, refused_calls }
}

fn of(view: &AttributionView, dimension: Dimension) -> &TableView {
    view.tables.iter().find(|table| table.dimension == dimension).expect("each is shown")
}

#[test]
fn an_org_that_nobody_uses_takes_no_memory_and_shows_nothing() {
    let mut attribution = Attribution::new(NOW);
    let view = attribution.view(after(1));
    assert_eq!((view.since, view.total, view.tables.len()), (NOW.wall, Periods::default(), 5));
    assert!(view.tables.iter().all(|table| table.consumers.is_empty()));
    assert_eq!(attribution.demand(after(1), None, None).series, []);
    assert!(attribution.counted.is_none());
}

#[test]
fn use_is_told_apart_by_everything_that_is_known_of_it() {
    let mut attribution = Attribution::new(NOW);
    let user = Some(UserId::parse("alice").expect("a name"));
    let named = origin_with(1, 3, |facts| facts.caller = Some("inbox".into()));
    attribution.asked(after(0), named.asker(), None, 5);
    attribution.granted(after(0), named.asker(), &user, 5);
    attribution.asked(after(2), origin(2, 1).asker(), None, 7);
    attribution.refused(after(2), origin(2, 1).asker(), &None, 7, RefusedFor::Org);
    attribution.returned(after(0), &named, &user, 2);
    let view = attribution.view(after(3));
    assert_eq!(view.total.day, used(9, 3, 7));
    for (dimension, names) in [
        (Dimension::Workspace, ["w1", "w2"]),
        (Dimension::Class, ["interactive", "event"]),
        (Dimension::User, ["alice", ""]),
        (Dimension::Caller, ["inbox", ""]),
    ] {
        let table = of(&view, dimension);
        let shown: Vec<_> = table.consumers.iter().map(|one| (&*one.name, one.periods)).collect();
        let each = |used| Periods { minute: used, hour: used, day: used };
        let expected = [(names[0], each(used(9, 3, 0))), (names[1], each(used(0, 0, 7)))];
        assert_eq!(shown, expected, "{dimension:?}");
        assert_eq!((table.others, table.missing_at_most), (Periods::default(), 0));
    }
    assert_eq!(of(&view, Dimension::Operation).consumers[0].periods.day, used(9, 3, 7));
}

#[test]
fn use_leaves_after_its_period_and_the_memory_with_it() {
    let mut attribution = Attribution::new(NOW);
    attribution.granted(after(0), origin(1, 1).asker(), &None, 1);
    let mut check = |seconds: u64, minute: u64, hour: u64, day: u64| {
        let total = attribution.view(after(seconds)).total;
        let shown = (total.minute.units, total.hour.units, total.day.units);
        assert_eq!(shown, (minute, hour, day), "after {seconds} s");
    };
    check(60, 1, 1, 1);
    check(65, 0, 1, 1);
    check(3_600, 0, 1, 1);
    check(3_660, 0, 0, 1);
    check(86_400, 0, 0, 1);
    check(87_300, 0, 0, 0);
    assert!(attribution.sweep(after(87_360)));
    assert!(attribution.counted.is_none());
}

#[test]
fn a_step_of_the_wall_clock_moves_no_minute() {
    let mut attribution = Attribution::new(NOW);
    attribution.asked(after(59), origin(1, 1).asker(), None, 1);
    attribution.asked(after(61), origin(1, 1).asker(), None, 1);
    let shown = attribution.demand(after(61), None, None);
    let minutes: Vec<Wall> = shown.series[0].minutes.iter().map(DemandMinute::begins).collect();
    assert_eq!(minutes, [NOW.wall, NOW.wall + Duration::from_secs(60)]);
}

/// Somebody grants, refuses or gives back, some seconds later.
#[derive(Clone, Debug)]
struct Event {
    pause: u64,
    name: usize,
    calls: u32,
    what: u8,
}

fn events(names: usize, longest_pause: u64) -> impl Strategy<Value = Vec<Event>> {
    let name = prop_oneof![0..names, 0..names.div_ceil(8)];
    let event = (0..=longest_pause, name, 1_u32..50, 0_u8..8);
    let event = event.prop_map(|(pause, name, calls, what)| Event { pause, name, calls, what });
    prop::collection::vec(event, 1..600)
}

/// A list of all that happened: the second, the name, what.
#[derive(Default)]
struct Reference {
    used: Vec<(u64, usize, Use)>,
    /// Units and refused requests, ever.
    weight: u64,
}

impl Reference {
    /// What the buckets of a period hold, by name.
    fn sums(&self, at: u64, width: u64, count: u64) -> BTreeMap<usize, Use> {
        let start = NOW.wall.0 / 1_000_000;
        let first = ((start + at) / width).saturating_sub(count);
        let mut sums = BTreeMap::<usize, Use>::new();
        for (_, name, used) in
            self.used.iter().filter(|(second, ..)| (start + second) / width >= first)
        {
            let sum = sums.entry(*name).or_default();
            sum.units += used.units;
            sum.calls += used.calls;
            sum.refused_calls += used.refused_calls;
        }
        sums
    }
}

/// Plays events to the attribution and to the list; gives back only what was
/// granted, in the order in which it was.
fn play(events: &[Event]) -> (Attribution, Reference, u64) {
    let mut attribution = Attribution::new(NOW);
    let mut reference = Reference::default();
    let mut out = Vec::new();
    let mut second = 0;
    for event in events {
        second += event.pause;
        let (now, of) = (after(second), origin(event.name, 2));
        match (event.what, out.pop()) {
            (0, Some((granted, name, calls))) => {
                attribution.returned(after(granted), &origin(name, 2), &None, calls);
                let gone = (granted, name, used(2 * u64::from(calls), calls.into(), 0));
                let place = reference.used.iter().position(|entry| *entry == gone);
                reference.used.remove(place.expect("it was granted"));
            }
            (1 | 2, last) => {
                out.extend(last);
                attribution.asked(now, of.asker(), None, event.calls);
                attribution.refused(now, of.asker(), &None, event.calls, RefusedFor::Workspace);
                reference.used.push((second, event.name, used(0, 0, event.calls.into())));
                reference.weight += 1;
            }
            (_, last) => {
                out.extend(last);
                attribution.asked(now, of.asker(), None, event.calls);
                attribution.granted(now, of.asker(), &None, event.calls);
                let units = 2 * u64::from(event.calls);
                reference.used.push((second, event.name, used(units, event.calls.into(), 0)));
                reference.weight += units;
                out.push((second, event.name, event.calls));
            }
        }
    }
    (attribution, reference, second)
}

/// The three periods of a table, by name, and the sum of all.
fn compare(
    table: &TableView,
    reference: &Reference,
    at: u64,
    mut check: impl FnMut(&str, Use, Use),
) {
    type Pick = fn(&Periods) -> Use;
    let periods: [(u64, u64, Pick); 3] =
        [(5, 12, |p| p.minute), (60, 60, |p| p.hour), (900, 96, |p| p.day)];
    for (width, count, pick) in periods {
        let sums = reference.sums(at, width, count);
        for (name, sum) in &sums {
            let name = format!("w{name}");
            let shown = table.consumers.iter().find(|one| *one.name == *name);
            check(&name, shown.map(|one| pick(&one.periods)).unwrap_or_default(), *sum);
        }
        let listed = table.consumers.iter().map(|one| pick(&one.periods));
        let shown = listed.chain([pick(&table.others)]);
        let units = shown.clone().map(|used| used.units).sum::<u64>();
        let refused = shown.map(|used| used.refused_calls).sum::<u64>();
        assert_eq!(units, sums.values().map(|sum| sum.units).sum::<u64>(), "nothing is lost");
        assert_eq!(refused, sums.values().map(|sum| sum.refused_calls).sum::<u64>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn while_all_names_are_listed_every_figure_is_exact(
        events in events(LISTED, 400),
        later in 0_u64..100_000,
    ) {
        let (mut attribution, reference, second) = play(&events);
        let at = second + later;
        let view = attribution.view(after(at));
        let table = of(&view, Dimension::Workspace);
        compare(table, &reference, at, |name, shown, sum| assert_eq!(shown, sum, "{name}"));
        prop_assert_eq!(table.others, Periods::default());
        prop_assert_eq!(table.missing_at_most, 0);
    }

    #[test]
    fn with_more_names_nobody_is_shown_too_much_and_nobody_misses_more_than_is_said(
        events in events(6 * LISTED, 2_000),
    ) {
        let (mut attribution, reference, at) = play(&events);
        let view = attribution.view(after(at));
        let table = of(&view, Dimension::Workspace);
        let missing = table.missing_at_most;
        prop_assert!(table.consumers.len() <= LISTED);
        compare(table, &reference, at, |name, shown, sum| {
            assert!(shown.units <= sum.units, "{name}");
            assert!(shown.units + missing >= sum.units, "{name}: {shown:?} {sum:?} {missing}");
        });
        // Twice a K-th of all there ever was, and what rounding up adds.
        let bound = 2 * (reference.weight / LISTED as u64 + 2);
        prop_assert!(missing <= bound, "{missing} of {}", reference.weight);
    }

    #[test]
    fn demand_loses_nothing_whatever_is_told_apart(events in events(3 * MAX_KEYS, 300)) {
        let (mut attribution, reference, at) = play(&events);
        let demand = attribution.demand(after(at), None, None);
        prop_assert!(demand.series.len() <= MAX_KEYS + 1);
        let minutes = || demand.series.iter().flat_map(|series| &series.minutes);
        let sums = reference.sums(at, 60, 24 * 60);
        let refused: u64 = minutes().map(|m| u64::from(m.refused(RefusedFor::Workspace))).sum();
        prop_assert_eq!(refused, sums.values().map(|sum| sum.refused_calls).sum::<u64>());
        let granted: u64 = minutes().map(|m| u64::from(m.granted_units)).sum();
        prop_assert_eq!(granted, sums.values().map(|sum| sum.units).sum::<u64>());
    }
}

#[test]
fn heavy_users_stay_listed_however_many_light_ones_come() {
    let mut attribution = Attribution::new(NOW);
    for second in 0..20_000_u64 {
        let name = usize::try_from(second).expect("it is small");
        attribution.granted(after(second), origin(1_000 + name, 1).asker(), &None, 1);
        if second % 10 == 0 {
            attribution.granted(after(second), origin(name / 10 % 5, 1).asker(), &None, 10);
        }
    }
    let view = attribution.view(after(20_000));
    let table = of(&view, Dimension::Workspace);
    let mut first: Vec<&str> = table.consumers[..5].iter().map(|one| &*one.name).collect();
    first.sort_unstable();
    assert_eq!(first, ["w0", "w1", "w2", "w3", "w4"]);
    assert!(table.consumers[..5].iter().all(|one| one.periods.day.units == 4_000), "to the unit");
    assert_eq!(table.others.day.units, 20_000 - 45, "each light one that is listed has one");
}

#[test]
fn the_memory_of_an_org_is_bounded() {
    let mut attribution = Attribution::new(NOW);
    // Everybody asks in every minute of a day, and more than are told apart.
    for minute in 0..24 * 60 {
        for name in 0..60 {
            let user = Some(UserId::parse(&format!("u{name}")).expect("a name"));
            let asked = origin_with(name, 1, |facts| {
                facts.caller = Some(format!("c{name}").as_str().into());
                facts.operation = OperationId::parse(&format!("o{name}")).expect("a name");
            });
            let now = after(60 * minute + 5 * (minute % 12));
            attribution.asked(now, asked.asker(), user.as_ref(), 1);
            attribution.granted(now, asked.asker(), &user, 1);
        }
    }
    let counted = attribution.counted.as_deref().expect("it is used");
    assert!(counted.demand.cells() <= MAX_CELLS);
    let bytes = size_of::<Counted>()
        + counted.total.heap_bytes()
        + counted.workspaces.heap_bytes()
        + counted.classes.heap_bytes()
        + counted.operations.heap_bytes()
        + counted.users.heap_bytes()
        + counted.callers.heap_bytes()
        + counted.demand.heap_bytes();
    assert!(bytes < 2 << 20, "{bytes} bytes");
}
