use prost_types::{Duration as WireDuration, Timestamp};
use smallvec::smallvec;
use tonic::codegen::http::HeaderMap;

use super::*;
use crate::{
    node::PermitId,
    quota::{LimitName, Mono, Permit, PermitKey, QueueUsage, Queued, WaitsFor, Wall},
};

fn acquire() -> v1::AcquireRequest {
    v1::AcquireRequest {
        org: "acme".into(),
        operation: "conversation-entries.get".into(),
        ..Default::default()
    }
}

fn report_of(permit_id: &str) -> v1::ReportRequest {
    v1::ReportRequest { permit_id: permit_id.into(), http_status: 200, ..Default::default() }
}

fn accepted(request: &v1::AcquireRequest) -> Ask {
    ask(request, &Asker::Declared(""))
        .unwrap_or_else(|problem| panic!("{request:?}: {}", problem.message))
        .1
}

fn fields(problem: Problem) -> Vec<String> {
    assert_eq!(problem.code, tonic::Code::InvalidArgument);
    for violation in &problem.fields {
        let sentence = format!("{}: {}", violation.field, violation.description);
        assert!(problem.message.contains(&sentence), "{sentence:?} in {:?}", problem.message);
    }
    problem.fields.into_iter().map(|violation| violation.field).collect()
}

const fn seconds(seconds: i64) -> Option<WireDuration> {
    Some(WireDuration { seconds, nanos: 0 })
}

const fn nanos(nanos: i32) -> Option<WireDuration> {
    Some(WireDuration { seconds: 0, nanos })
}

#[test]
fn an_acquire_that_says_little_has_the_defaults() {
    let ask = accepted(&acquire());
    assert_eq!((ask.workspace, ask.user, ask.ttl, ask.request), (None, None, None, None));
    assert_eq!((ask.class, ask.calls, ask.min_calls, ask.cost), (Class::Event, 1, 1, 1));
    assert_eq!((ask.max_wait, ask.check_only), (Duration::ZERO, false));
    let ask = accepted(&v1::AcquireRequest { calls: 7, ..acquire() });
    assert_eq!((ask.calls, ask.min_calls), (7, 7), "all or nothing");
}

#[test]
fn an_acquire_at_every_bound_is_accepted() {
    let ask = accepted(&v1::AcquireRequest {
        org: "00D000000000001".into(),
        workspace: "w".repeat(128),
        operation: "o".repeat(64),
        execution_user: "u".repeat(64),
        traffic_class: v1::TrafficClass::Bulk.into(),
        calls: 10_000,
        min_calls: 10_000,
        cost: 10_000,
        max_wait: seconds(600),
        permit_ttl: seconds(super::super::MAX_SECONDS),
        request_id: "ü".repeat(64),
        mode: v1::AcquireMode::Enforce.into(),
    });
    assert_eq!((ask.calls, ask.min_calls, ask.cost), (10_000, 10_000, 10_000));
    assert_eq!(ask.max_wait, MAX_WAIT);
    let ask = accepted(&v1::AcquireRequest { permit_ttl: nanos(1_000), ..acquire() });
    assert_eq!(ask.ttl, Some(MIN_TTL));
}

#[test]
fn each_field_of_an_acquire_beyond_its_bounds_is_refused_by_name() {
    let check = |field: &str, spoil: &dyn Fn(&mut v1::AcquireRequest)| {
        let mut request = acquire();
        spoil(&mut request);
        let problem = ask(&request, &Asker::Declared("")).expect_err(field);
        assert_eq!(fields(problem), [field], "{request:?}");
    };
    for org in ["", "a b", "ä", "a/b", &"a".repeat(65), &"a".repeat(1 << 20), "00D000000000001EAB"]
    {
        check("org", &|r| r.org = org.into());
    }
    for workspace in ["a/b", "a\nb", &"w".repeat(129)] {
        check("workspace", &|r| r.workspace = workspace.into());
    }
    for operation in ["", "a b", &"o".repeat(65)] {
        check("operation", &|r| r.operation = operation.into());
    }
    for user in ["a b", &"u".repeat(65), "005000000000001AAB"] {
        check("execution_user", &|r| r.execution_user = user.into());
    }
    for class in [-1, 5, i32::MAX, i32::MIN] {
        check("traffic_class", &|r| r.traffic_class = class);
    }
    for calls in [10_001, u32::MAX] {
        check("calls", &|r| r.calls = calls);
        check("cost", &|r| r.cost = calls);
    }
    for (calls, min_calls) in [(0, 2), (5, 6), (5, u32::MAX)] {
        check("min_calls", &|r| (r.calls, r.min_calls) = (calls, min_calls));
    }
    for wait in [seconds(601), seconds(-1), nanos(-1), nanos(1_000_000_000), seconds(i64::MAX)] {
        check("max_wait", &|r| r.max_wait = wait);
    }
    for ttl in [seconds(0), nanos(999), seconds(-1), nanos(i32::MIN), seconds(i64::MIN)] {
        check("permit_ttl", &|r| r.permit_ttl = ttl);
    }
    for id in ["a\0b", &"i".repeat(65)] {
        check("request_id", &|r| r.request_id = id.into());
    }
    for mode in [-1, 3] {
        check("mode", &|r| r.mode = mode);
    }
}

#[test]
fn all_faults_of_an_acquire_are_told_at_once() {
    let request = v1::AcquireRequest {
        org: "a b".into(),
        calls: u32::MAX,
        traffic_class: 9,
        max_wait: seconds(-1),
        ..Default::default()
    };
    let problem = ask(&request, &Asker::Declared("")).expect_err("it is wrong");
    assert_eq!(fields(problem), ["org", "operation", "traffic_class", "calls", "max_wait"]);
}

#[test]
fn a_check_neither_waits_nor_remembers() {
    let ask = accepted(&v1::AcquireRequest {
        mode: v1::AcquireMode::CheckOnly.into(),
        max_wait: seconds(60),
        request_id: "r".into(),
        ..acquire()
    });
    assert_eq!((ask.check_only, ask.max_wait, ask.request), (true, Duration::ZERO, None));
}

#[test]
fn a_digest_names_the_body_and_not_the_way_in_which_it_was_said() {
    let digest_of = |change: &dyn Fn(&mut v1::AcquireRequest)| {
        let mut request = v1::AcquireRequest {
            org: "00D000000000001EAA".into(),
            request_id: "r".into(),
            calls: 2,
            ..acquire()
        };
        change(&mut request);
        accepted(&request).request.expect("it has an id").digest
    };
    let first = digest_of(&|_| ());
    let same: [&dyn Fn(&mut v1::AcquireRequest); 6] = [
        &|r| r.request_id = "another".into(),
        &|r| r.max_wait = seconds(3),
        &|r| r.org = "00D000000000001".into(),
        &|r| r.traffic_class = v1::TrafficClass::Event.into(),
        &|r| r.min_calls = 2,
        &|r| (r.cost, r.mode) = (1, v1::AcquireMode::Enforce.into()),
    ];
    for change in same {
        assert_eq!(digest_of(change), first);
    }
    let other: [&dyn Fn(&mut v1::AcquireRequest); 9] = [
        &|r| r.org = "other".into(),
        &|r| r.workspace = "w".into(),
        &|r| r.operation = "rest".into(),
        &|r| r.execution_user = "w".into(),
        &|r| r.traffic_class = v1::TrafficClass::Bulk.into(),
        &|r| r.calls = 3,
        &|r| r.min_calls = 1,
        &|r| r.cost = 2,
        &|r| r.permit_ttl = seconds(1),
    ];
    for change in other {
        assert_ne!(digest_of(change), first);
    }
    assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8, "the published vector");
}

#[test]
fn a_release_is_checked() {
    let check = |permit_id: &str, unused_calls: Option<u32>, expected: &[&str]| {
        let request = v1::ReleaseRequest { permit_id: permit_id.into(), unused_calls };
        match release(&request) {
            Ok(checked) => assert_eq!((checked, expected.len()), ((permit_id, unused_calls), 0)),
            Err(problem) => assert_eq!(fields(problem), expected),
        }
    };
    check("p", None, &[]);
    check("p", Some(0), &[]);
    check(&"p".repeat(128), Some(10_000), &[]);
    check("", None, &["permit_id"]);
    check(&"p".repeat(129), None, &["permit_id"]);
    check("", Some(u32::MAX), &["permit_id", "unused_calls"]);
}

#[test]
fn a_report_is_about_a_permit_or_an_org() {
    let permit = report_of("p");
    let (subject, checked) = report(&permit).expect("it is valid");
    assert_eq!((subject, checked.calls, checked.first_call), (Subject::Permit("p"), 1, 0));
    let org = v1::ReportRequest { org: "acme".into(), ..report_of("") };
    let (subject, _) = report(&org).expect("it is valid");
    assert_eq!(subject, Subject::Org(OrgId::parse("acme").expect("a name")));
    let both = v1::ReportRequest { org: "acme".into(), ..report_of("p") };
    assert_eq!(fields(report(&both).expect_err("both")), ["org"]);
    assert_eq!(fields(report(&report_of("")).expect_err("none")), ["permit_id"]);
}

#[test]
fn each_field_of_a_report_beyond_its_bounds_is_refused_by_name() {
    let check = |field: &str, spoil: &dyn Fn(&mut v1::ReportRequest)| {
        let mut request = report_of("p");
        spoil(&mut request);
        assert_eq!(fields(report(&request).expect_err(field)), [field], "{request:?}");
    };
    check("permit_id", &|r| r.permit_id = "p".repeat(129));
    check("execution_user", &|r| r.execution_user = "a b".into());
    check("operation", &|r| r.operation = "a b".into());
    check("first_call", &|r| r.first_call = 10_000);
    for (first_call, calls) in [(0, 10_001), (0, u32::MAX), (1, 10_000), (9_999, 2)] {
        check("calls", &|r| (r.first_call, r.calls) = (first_call, calls));
    }
    for status in [1, 99, 600, 65_536, 65_736, u32::MAX] {
        check("http_status", &|r| r.http_status = status);
    }
    check("retry_after", &|r| r.retry_after = seconds(-1));
    check("completed_ago", &|r| r.completed_ago = nanos(-1));
    check("limit_info", &|r| r.limit_info = vec![String::new(); 9]);
    check("limit_info[1]", &|r| r.limit_info = vec![String::new(), "x".repeat(1_025)]);
    for time in [(-1, 0), (i64::MAX, 0), (253_402_300_800, 0), (0, -1), (0, 1_000_000_000)] {
        let (seconds, nanos) = time;
        check("answer_time", &|r| r.answer_time = Some(Timestamp { seconds, nanos }));
    }
}

#[test]
fn a_report_at_every_bound_is_accepted_with_its_reading() {
    let request = v1::ReportRequest {
        first_call: 9_999,
        http_status: 599,
        error_message: "x".repeat(60_000),
        limit_info: vec!["x".repeat(1_024), "api-usage=110018/100000".into()],
        answer_time: Some(Timestamp { seconds: 253_402_300_799, nanos: 999_999_999 }),
        completed_ago: nanos(500_000_000),
        ..report_of(&"p".repeat(128))
    };
    let (_, checked) = report(&request).expect("it is valid");
    assert_eq!(checked.completed_ago, Duration::from_millis(500));
    let reading = checked.reading.expect("the header was read");
    assert_eq!(reading.usage, ApiUsage { used: 110_018, limit: 100_000 });
    assert_eq!(reading.answer_time, Some(Wall(253_402_300_799_999_999)));
}

#[test]
fn an_error_text_is_cut_where_a_character_ends() {
    let request = v1::ReportRequest {
        error_message: format!("x{}", "ä".repeat(1_000)),
        ..Default::default()
    };
    assert_eq!(error_text(&request).1.len(), 1_023);
}

const NOW: Now = Now { mono: Mono(10_000_000), wall: Wall(1_700_000_000_250_000) };

fn usage() -> LimitUsage {
    LimitUsage {
        name: LimitName::calls(),
        kind: Kind::Concurrency,
        scope: Scope::ExecutionUser,
        identity: "u".into(),
        max: 1,
        used_by_caller: 2,
        used_by_others: 3,
        foreign: 4,
        held: 5,
        reserved: 6,
        outage_share: 9,
        remaining: 7,
        window: Duration::from_millis(1_500),
        stale: true,
        shadow: Some(8),
        cooling_until: Some(Mono(11_000_000)),
        burn_per_hour: 8,
        exhausted_at: None,
        opens_at: None,
    }
}

fn wire_usage() -> v1::LimitUsage {
    v1::LimitUsage {
        name: "calls".into(),
        kind: v1::LimitKind::Concurrency.into(),
        scope: v1::LimitScope::ExecutionUser.into(),
        identity: "u".into(),
        max: 1,
        used_by_caller: 2,
        used_by_others: 3,
        foreign: 4,
        held: 5,
        reserved: 6,
        remaining: 7,
        window: Some(WireDuration { seconds: 1, nanos: 500_000_000 }),
        stale: true,
        shadow: Some(v1::Shadow { would_have_refused: 8 }),
        cooling_until: Some(Timestamp { seconds: 1_700_000_001, nanos: 250_000_000 }),
        burn_per_hour: 8,
        exhausted_in: None,
        opens_in: None,
        outage_share: 9,
    }
}

#[test]
fn a_permit_is_written_down() {
    let permit = Permit {
        key: None,
        epoch: 1,
        calls: 3,
        user: UserId::parse("u").ok(),
        decided: Mono(0),
        life_left: Duration::ZERO,
        class_state: None,
        limits: [usage()].into_iter().collect(),
        explanation: vec![LimitExplanation {
            usage: usage(),
            room: 1,
            needed: 2,
            ahead: 3,
            kept: 4,
            pauses_at: Some(5),
            binding: true,
            opens_in: Some(Duration::ZERO),
            text: "all is well".into(),
        }],
    };
    let ttl = Duration::from_micros(4_900_001);
    let org = OrgId::parse("acme").expect("an org");
    let id = PermitId { org, epoch: 1, key: PermitKey(7) };
    let permit_id = id.to_string();
    let decision = Decision::Permit { id: Some(id), ttl, permit: Box::new(permit) };
    let expected = v1::Permit {
        permit_id,
        calls: 3,
        execution_user: "u".into(),
        ttl: Some(WireDuration { seconds: 4, nanos: 900_001_000 }),
        class_state: None,
        limits: vec![wire_usage()],
        explanation: vec![v1::LimitExplanation {
            usage: Some(wire_usage()),
            room: 1,
            needed: 2,
            ahead: 3,
            kept_for_workspaces: 4,
            pauses_at: Some(5),
            binding: true,
            opens_in: Some(WireDuration { seconds: 0, nanos: 0 }),
            text: "all is well".into(),
        }],
    };
    let outcome = Some(v1::acquire_response::Outcome::Permit(expected));
    assert_eq!(decided(Decided { decision, now: NOW }), v1::AcquireResponse { outcome });
}

#[test]
fn a_denial_is_written_down_with_times_on_the_wall_clock() {
    let status = |class, paused, since| ClassStatus {
        class,
        paused,
        since,
        pauses_at_percent: 80,
        resumes_below_percent: 60,
    };
    let denial = Denial {
        reason: DenialReason::WorkspaceClassPaused,
        limit: Some(usage()),
        limits: [usage()].into_iter().collect(),
        retry_after: Some(Duration::from_millis(250)),
        queue_position: 4,
        message: "event synchronisation is paused".into(),
        class_state: Some(ClassState {
            classes: smallvec![
                status(Class::Event, true, Some(Mono(8_500_000))),
                status(Class::Interactive, false, None),
            ],
            warnings: vec![
                Warning::ApproachingLimit("80 %".into()),
                Warning::LimitReached("100 %".into()),
            ],
        }),
        explanation: Vec::new(),
    };
    let wire_status = |class: v1::TrafficClass, state: v1::ClassRunState, since| v1::ClassStatus {
        traffic_class: class.into(),
        state: state.into(),
        since,
        pauses_at_percent: 80,
        resumes_below_percent: 60,
    };
    let warning =
        |kind: v1::WarningKind, text: &str| v1::Warning { kind: kind.into(), text: text.into() };
    let since = Timestamp { seconds: 1_699_999_998, nanos: 750_000_000 };
    let expected = v1::Denial {
        reason: v1::DenialReason::WorkspaceClassPaused.into(),
        limit: Some(wire_usage()),
        limits: vec![wire_usage()],
        retry_after: nanos(250_000_000),
        queue_position: 4,
        message: "event synchronisation is paused".into(),
        class_state: Some(v1::ClassState {
            classes: vec![
                wire_status(v1::TrafficClass::Event, v1::ClassRunState::Paused, Some(since)),
                wire_status(v1::TrafficClass::Interactive, v1::ClassRunState::Running, None),
            ],
            warnings: vec![
                warning(v1::WarningKind::ApproachingLimit, "80 %"),
                warning(v1::WarningKind::LimitReached, "100 %"),
            ],
        }),
        explanation: Vec::new(),
    };
    let outcome = Some(v1::acquire_response::Outcome::Denial(expected));
    let decided = decided(Decided { decision: Decision::Denial(Box::new(denial)), now: NOW });
    assert_eq!(decided, v1::AcquireResponse { outcome });
}

#[test]
fn names_on_the_wire_are_the_names_of_the_domain() {
    use DenialReason::*;
    for reason in [
        ExecutionUserLimit,
        WorkspaceClassPaused,
        WorkspaceLimit,
        OrgLimit,
        ConcurrencyLimit,
        CoolingDown,
        QueueFull,
    ] {
        let wire = denial_reason(reason).as_str_name();
        assert_eq!(wire, format!("DENIAL_REASON_{}", reason.name().to_uppercase()));
    }
    for class in Class::ALL {
        let wire = wire_class(class);
        assert_eq!(wire.as_str_name(), format!("TRAFFIC_CLASS_{}", class.name().to_uppercase()));
        assert_eq!(super::class(wire.into()), Ok(class));
    }
}

#[test]
fn an_event_of_a_watch_is_written_down() {
    let org = OrgId::parse("acme").expect("a name");
    let workspace = WorkspaceId::parse("w").expect("a name");
    let usage = OrgUsage {
        org,
        limits: vec![LimitUsage {
            exhausted_at: Some(Mono(13_000_000)),
            opens_at: Some(Mono(14_000_000)),
            ..usage()
        }],
        workspaces: vec![WorkspaceUsage {
            workspace: workspace.clone(),
            limits: Vec::new(),
            class_state: Some(ClassState::default()),
            pauses: vec![(Class::Bulk, Mono(10_500_000))],
            weight: 3,
            guaranteed_calls: 100,
        }],
        users: vec![UserUsage {
            user: UserId::parse("u").expect("a name"),
            limits: Vec::new(),
            in_pool: true,
            foreign_traffic: true,
        }],
        waiting: 1,
        permits_out: 2,
        last_reading: Some(Mono(9_000_000)),
        warnings: vec!["stale".into()],
        cooling: vec![CoolingUsage {
            scope: Scope::Org,
            identity: "acme".into(),
            limit: LimitName::calls(),
            cause: CoolingCause::TotalExceeded,
            since: Mono(8_000_000),
            until: Mono(12_000_000),
            attempts: 2,
            probe_out: true,
        }],
        attribution: None,
        queue: Some(QueueUsage {
            by_class: [0, 0, 1, 0],
            first: vec![Queued {
                place: 1,
                workspace: None,
                operation: OperationId::parse("rest.long").expect("a name"),
                class: Class::Event,
                calls: 2,
                user: None,
                since: Mono(9_000_000),
                due: None,
                limit: Some(WaitsFor {
                    name: LimitName::parse("long").expect("a name"),
                    kind: Kind::Concurrency,
                    scope: Scope::Org,
                    identity: "acme".into(),
                }),
            }],
        }),
        readings: vec![SeenReading {
            as_of: Mono(9_000_000),
            usage: ApiUsage { used: 30, limit: 100 },
            own: 20,
            told_by: Some("token:sync".into()),
        }],
    };
    let status = ClassStatus {
        class: Class::Bulk,
        paused: true,
        since: None,
        pauses_at_percent: 40,
        resumes_below_percent: 40,
    };
    let transitions = vec![Transition { number: 1, workspace, status }];
    let event = usage_event(UsageEvent { usage, snapshot: true, transitions, now: NOW });
    assert!(event.snapshot);
    assert_eq!(event.transitions[0].workspace, "w");
    let usage = event.usage.expect("it has usage");
    assert_eq!(usage.as_of, Some(Timestamp { seconds: 1_700_000_000, nanos: 250_000_000 }));
    assert_eq!(usage.last_reading, Some(Timestamp { seconds: 1_699_999_999, nanos: 250_000_000 }));
    let reading = v1::Reading {
        answer_time: usage.last_reading,
        used: 30,
        limit: 100,
        own: 20,
        foreign: 10,
        told_by: "token:sync".into(),
    };
    assert_eq!(usage.readings, [reading]);
    assert_eq!((usage.waiting, usage.permits_out), (1, 2));
    let queue = usage.queue.expect("it is shown");
    let by_class: Vec<_> =
        queue.waiting.iter().map(|of| (of.traffic_class(), of.requests)).collect();
    assert_eq!(by_class, [(v1::TrafficClass::Event, 1)], "only those in which somebody waits");
    let first = &queue.first[0];
    assert_eq!((first.place, first.calls, first.operation.as_str()), (1, 2, "rest.long"));
    assert_eq!((first.limit.as_str(), first.identity.as_str()), ("long", "acme"));
    assert_eq!(first.waiting_since, Some(Timestamp { seconds: 1_699_999_999, nanos: 250_000_000 }));
    assert!(first.due_at.is_none() && first.execution_user.is_empty());
    assert_eq!(usage.workspaces[0].class_state, Some(v1::ClassState::default()));
    let workspace = &usage.workspaces[0];
    assert_eq!((workspace.weight, workspace.guaranteed_calls), (3, 100));
    assert!(usage.execution_users[0].in_pool && usage.execution_users[0].foreign_traffic);
    let cooling = v1::CoolingUsage {
        scope: v1::LimitScope::Org.into(),
        identity: "acme".into(),
        limit: "calls".into(),
        cause: v1::CoolingCause::TotalExceeded.into(),
        since: Some(Timestamp { seconds: 1_699_999_998, nanos: 250_000_000 }),
        until: Some(Timestamp { seconds: 1_700_000_002, nanos: 250_000_000 }),
        attempts: 2,
        probe_out: true,
    };
    assert_eq!(usage.cooling, [cooling]);
    assert_eq!(usage.limits[0].exhausted_in, seconds(3));
    assert_eq!(usage.limits[0].opens_in, seconds(4));
    let pauses = usage.workspaces[0].attribution.as_ref().map(|to_come| &to_come.pauses[..]);
    let bulk = v1::ClassForecast {
        traffic_class: v1::TrafficClass::Bulk.into(),
        pauses_in: nanos(500_000_000),
    };
    assert_eq!(pauses, Some(&[bulk][..]));
}

#[test]
fn callers_name_themselves_in_the_metadata() {
    let mut headers = HeaderMap::new();
    assert_eq!(declared_caller(&headers), "");
    headers.insert(CALLER, "inbox/eu-1@v2".parse().expect("ASCII"));
    let request = v1::AcquireRequest { request_id: "r".into(), ..acquire() };
    let (_, named) =
        ask(&request, &Asker::Declared(&declared_caller(&headers))).expect("it is a name");
    assert_eq!(named.caller.as_deref(), Some("inbox/eu-1@v2"));
    let (key, unnamed) = (named.request.expect("it has an id"), accepted(&request));
    assert_eq!(&*key.caller, "inbox/eu-1@v2", "its ids are its own");
    let unnamed_key = unnamed.request.expect("it has an id");
    assert_eq!((&*unnamed_key.caller, unnamed_key.digest), ("", key.digest));
    headers.append(CALLER, "another".parse().expect("ASCII"));
    for garbled in [&*declared_caller(&headers), "a b", "ü", &"x".repeat(65)] {
        let faults = fields(ask(&acquire(), &Asker::Declared(garbled)).expect_err(garbled));
        assert_eq!(faults, [CALLER], "{garbled:?}");
        assert_eq!(forwarded_caller(garbled), "", "{garbled:?}");
    }
    assert_eq!(forwarded_caller("inbox"), "inbox");
}

#[test]
fn who_has_proved_who_they_are_asks_under_that_name_only() {
    let longest = format!("spiffe://prod/{}", "x".repeat(241));
    let request = v1::AcquireRequest { request_id: "r".into(), ..acquire() };
    for principal in ["token:ci", "oidc:k8s:system:serviceaccount:a:b", &longest] {
        let (_, ask) = ask(&request, &Asker::Proved(principal.into())).expect("it is right");
        assert_eq!(ask.caller.as_deref(), Some(principal));
        assert_eq!(ask.principal.as_deref(), Some(principal));
        assert_eq!(&*ask.request.expect("it has an id").caller, principal);
    }
    let (_, declared) = ask(&request, &Asker::Declared("token:ci")).expect("it is right");
    assert_eq!(declared.principal, None, "a name that somebody gives themselves proves nothing");
}

#[test]
fn a_get_demand_says_all_that_is_wrong_with_it() {
    let request = v1::GetDemandRequest { org: "acme".into(), ..Default::default() };
    let filter = |request: &v1::GetDemandRequest| demand_filter(request).expect("it is right").1;
    assert_eq!(filter(&request), DemandFilter { workspace: None, since: None });
    let of_nobody = v1::GetDemandRequest { workspace: Some(String::new()), ..request.clone() };
    assert_eq!(filter(&of_nobody).workspace, Some(None));
    let of_one = v1::GetDemandRequest { workspace: Some("w".into()), ..request };
    assert_eq!(filter(&of_one).workspace, Some(WorkspaceId::parse("w").ok()));
    let wrong = v1::GetDemandRequest {
        org: String::new(),
        workspace: Some("a/b".into()),
        since: Some(Timestamp { seconds: -1, nanos: 0 }),
    };
    let faults = fields(demand_filter(&wrong).expect_err("it is wrong"));
    assert_eq!(faults, ["org", "workspace", "since"]);
}

#[test]
fn a_duration_beyond_what_the_wire_holds_is_its_greatest() {
    let greatest = wire_duration(Duration::MAX);
    assert_eq!(greatest.seconds, super::super::MAX_SECONDS);
    assert_eq!(wire_duration(Duration::ZERO), WireDuration { seconds: 0, nanos: 0 });
}
