use super::{sweep::SWEEP_EVERY, *};
use crate::{
    config::Config,
    node::Settings,
    quota::{Class, OperationId, Reading, salesforce::ApiUsage},
    store::MemoryStore,
};

pub(super) async fn start() -> Running {
    start_on(Arc::new(MemoryStore::new())).await
}

async fn start_on(store: SharedStore) -> Running {
    let settings = Settings::read(Config::built_in(), &*store).await.expect("it is empty");
    let metrics = Arc::new(Metrics::new("test", Wall(0)));
    let (clock, settings) = (Clock::default(), Arc::new(settings));
    Shards::start(store, clock, metrics, settings, "test".to_owned()).await.expect("it starts")
}

/// An event's call, of nobody's.
pub(super) fn ask(operation: &str, max_wait: Duration) -> Ask {
    Ask {
        caller: None,
        principal: None,
        workspace: None,
        operation: OperationId::parse(operation).expect("an operation"),
        user: None,
        class: Class::Event,
        calls: 1,
        min_calls: 1,
        cost: 1,
        ttl: None,
        request: None,
        max_wait,
        check_only: false,
    }
}

#[tokio::test]
async fn a_ledger_that_panics_is_read_again_and_whoever_waits_is_sent_on() {
    let running = start().await;
    let shards = running.shards();
    let org = OrgId::parse("acme").expect("an org");
    for _ in 0..5 {
        let slot = shards.acquire(&org, &ask("rest.long", Duration::ZERO)).await;
        assert!(matches!(slot, Ok((Outcome::Granted(_), _))), "{slot:?}");
    }
    let (waits, of) = (Arc::clone(&shards), org.clone());
    let long = Duration::from_secs(600);
    let waiter = tokio::spawn(async move { waits.acquire(&of, &ask("rest.long", long)).await });
    while shards.usage(&org).usage.waiting == 0 {
        tokio::task::yield_now().await;
    }

    let cell = shards.table.get(&org).expect("it is there");
    assert!(cell.with(|_| panic!("planted")).is_none());
    let granted = loop {
        match shards.acquire(&org, &ask("rest", Duration::ZERO)).await {
            Err(NoLedger::NotOwned) => tokio::task::yield_now().await,
            outcome => break outcome,
        }
    };
    assert!(matches!(granted, Ok((Outcome::Granted(_), _))), "{granted:?}");
    let sent_on = waiter.await.expect("no panic");
    assert!(matches!(sent_on, Ok((Outcome::Failed(AskError::NotOwner), _))), "{sent_on:?}");
    let total = &shards.usage(&org).usage.limits[0];
    assert!(total.used_by_caller + total.held >= 6, "nothing is forgotten: {total:?}");
    running.hand_over().await;
}
#[tokio::test]
async fn what_a_crash_left_open_is_counted() {
    let store: SharedStore = Arc::new(MemoryStore::new());
    let running = start_on(Arc::clone(&store)).await;
    let shards = running.shards();
    let org = OrgId::parse("acme").expect("an org");
    let granted = shards.acquire(&org, &ask("rest", Duration::ZERO)).await;
    assert!(matches!(granted, Ok((Outcome::Granted(_), _))), "{granted:?}");
    let check = |shards: &Shards, line: &str| {
        let text = shards.metrics.encode();
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
    };
    check(&shards, r#"quotagate_recovered_shards_total{left="in_order"} 256"#);
    check(&shards, "quotagate_decision_seconds_count 1");
    drop((running, shards));

    let after_crash = start_on(Arc::clone(&store)).await;
    let held = after_crash.shards().usage(&org).usage.limits[0].held;
    assert!(held > 0, "a block was open");
    check(&after_crash.shards(), r#"quotagate_recovered_shards_total{left="open"} 1"#);
    let lost = format!(r#"quotagate_lost_units_total{{scope="org"}} {held}"#);
    check(&after_crash.shards(), &lost);
    after_crash.hand_over().await;
}

#[tokio::test(start_paused = true)]
async fn the_busiest_orgs_are_shown_by_name() {
    let running = start().await;
    let shards = running.shards();
    let org = OrgId::parse("acme").expect("an org");
    let granted = shards.acquire(&org, &ask("rest", Duration::ZERO)).await;
    assert!(matches!(granted, Ok((Outcome::Granted(_), _))), "{granted:?}");
    // Nothing of ours is charged to this one's total; others use it.
    let only_read = OrgId::parse("read").expect("an org");
    let usage = ApiUsage { used: 70, limit: 100 };
    let reading = Some(Reading { usage, answer_time: None });
    let report = Report { calls: 1, http_status: 200, reading, ..Report::default() };
    shards.report_org(&only_read, &report, &Teller::anybody()).expect("it is owned");
    tokio::time::sleep(SWEEP_EVERY * 2).await;
    let text = shards.metrics.encode();
    for line in [
        r#"quotagate_org_limit_calls{org="read"} 100"#,
        r#"quotagate_org_used_calls{org="read"} 0"#,
        r#"quotagate_org_foreign_calls{org="read"} 70"#,
        r#"quotagate_org_limit_calls{org="acme"} 15000"#,
        r#"quotagate_org_used_calls{org="acme"} 1"#,
        r#"quotagate_org_foreign_calls{org="acme"} 0"#,
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
    }
}
