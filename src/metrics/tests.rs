use super::*;

fn new() -> Metrics {
    Metrics::new("1.2.3", Wall(1_700_000_000_000_000))
}

#[track_caller]
fn shows(metrics: &Metrics, line: &str) {
    let text = metrics.encode();
    assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
}

#[test]
fn every_metric_has_its_name_its_unit_and_starts_at_zero() {
    let metrics = new();
    for line in [
        &format!(r#"quotagate_build_info{{version="1.2.3",commit="{}"}} 1"#, crate::COMMIT),
        "quotagate_process_start_time_seconds 1700000000",
        r#"quotagate_decisions_total{decision="granted",reason="none",class="bulk"} 0"#,
        r#"quotagate_decisions_total{decision="denied",reason="org_limit",class="event"} 0"#,
        "quotagate_releases_total 0",
        "quotagate_released_calls_total 0",
        r#"quotagate_reports_total{answered="true"} 0"#,
        r#"quotagate_reserves_total{outcome="done"} 0"#,
        "quotagate_reserve_seconds_count 0",
        r#"quotagate_forwarded_total{outcome="answered"} 0"#,
        r#"quotagate_invariant_violations_total{id="I9"} 0"#,
        r#"quotagate_config_reloads_total{outcome="rejected"} 0"#,
        "quotagate_config_last_reload_success_timestamp_seconds 1700000000",
        "quotagate_owned_shards 0",
        "quotagate_orgs 0",
        r#"quotagate_waiting{class="bulk"} 0"#,
        r#"quotagate_wait_seconds_count{class="bulk"} 0"#,
        "quotagate_permits_out 0",
        r#"quotagate_troubles_total{kind="total_exceeded"} 0"#,
        r#"quotagate_cooling{cause="throttled"} 0"#,
        r#"quotagate_recovered_shards_total{left="open"} 0"#,
        "quotagate_recover_seconds_count 0",
        "quotagate_handed_over_shards_total 0",
        r#"quotagate_lost_units_total{scope="workspace"} 0"#,
        "quotagate_decision_seconds_count 0",
        "quotagate_forward_seconds_count 0",
        r#"quotagate_authentications_total{outcome="accepted"} 0"#,
        "# UNIT quotagate_reserve_seconds seconds",
        "# EOF",
    ] {
        shows(&metrics, line);
    }
}

#[test]
fn each_event_moves_its_own_counter() {
    let metrics = new();
    for (index, class) in Class::ALL.into_iter().enumerate() {
        assert_eq!(class_index(class), index);
    }
    for (index, reason) in REASONS.into_iter().enumerate() {
        assert_eq!(reason_index(reason), index);
    }
    let operation = OperationId::parse("rest").expect("a name");
    metrics.granted(Class::Event, &operation, 3);
    metrics.denied(DenialReason::QueueFull, Class::Bulk, &operation, 4);
    metrics.released(2);
    metrics.reported(true);
    metrics.reserved(ReserveOutcome::Unknown, Duration::from_millis(3));
    metrics.request("/quotagate.v1.QuotaService/Acquire", tonic::Code::Ok);
    metrics.request("/made.up/By-a-caller", tonic::Code::Unimplemented);
    metrics.forwarded(ForwardOutcome::NotSent);
    metrics.violated("I4");
    metrics.reloaded(ReloadOutcome::Applied, Wall(1_700_000_001_000_000));
    metrics.set_waiting([0, 0, 7, 0]);
    metrics.waited_for_room(Class::Bulk, Duration::from_secs(90));
    metrics.troubled(TroubleKind::Unavailable);
    metrics.set_cooling([1, 2, 3, 4, 5, 6]);
    metrics.authenticated("wrong_audience");
    for line in [
        r#"quotagate_decisions_total{decision="granted",reason="none",class="event"} 1"#,
        r#"quotagate_decisions_total{decision="denied",reason="queue_full",class="bulk"} 1"#,
        r#"quotagate_granted_calls_total{class="event",operation="rest"} 3"#,
        r#"quotagate_refused_calls_total{class="bulk",operation="rest"} 4"#,
        "quotagate_releases_total 1",
        "quotagate_released_calls_total 2",
        r#"quotagate_reports_total{answered="true"} 1"#,
        r#"quotagate_reserves_total{outcome="unknown"} 1"#,
        r#"quotagate_reserve_seconds_bucket{le="0.005"} 1"#,
        r#"quotagate_grpc_requests_total{method="quotagate.v1.QuotaService/Acquire",code="OK"} 1"#,
        r#"quotagate_grpc_requests_total{method="other",code="UNIMPLEMENTED"} 1"#,
        r#"quotagate_forwarded_total{outcome="not_sent"} 1"#,
        r#"quotagate_invariant_violations_total{id="I4"} 1"#,
        r#"quotagate_config_reloads_total{outcome="applied"} 1"#,
        "quotagate_config_last_reload_success_timestamp_seconds 1700000001",
        r#"quotagate_waiting{class="event"} 7"#,
        r#"quotagate_wait_seconds_bucket{le="120.0",class="bulk"} 1"#,
        r#"quotagate_troubles_total{kind="unavailable"} 1"#,
        r#"quotagate_cooling{cause="total_exceeded"} 6"#,
        r#"quotagate_authentications_total{outcome="wrong_audience"} 1"#,
    ] {
        shows(&metrics, line);
    }
}

#[test]
fn a_node_in_a_cluster_shows_how_it_stands_and_one_that_is_alone_does_not() {
    let metrics = new();
    assert!(!metrics.encode().contains("session_left"));
    let sample = ClusterSample {
        session_left: Duration::from_millis(7_500),
        clock_offset: Some(Duration::from_millis(250)),
        answering: 1,
        silent: 1,
    };
    metrics.show_cluster(Box::new(move || Some(sample)));
    for line in [
        "quotagate_session_left_seconds 7.5",
        "quotagate_clock_offset_seconds 0.25",
        r#"quotagate_peers{state="answering"} 1"#,
        r#"quotagate_peers{state="silent"} 1"#,
    ] {
        shows(&metrics, line);
    }
}

#[test]
fn metrics_are_named_as_one_family_and_described() {
    let text = new().encode();
    for line in text.lines().filter(|line| *line != "# EOF") {
        let name = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
        let name = name.trim_start_matches("# UNIT ");
        assert!(name.starts_with("quotagate_"), "{line}");
    }
}
