//! The configuration file: what is read from it, and what is said about a bad
//! one.
#![cfg(feature = "server")]

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;
use quotagate::{
    config::{
        BUILT_IN_CATALOGUE, Config, Fault, OrgDeclaration, PartialClasses, Template, UnknownNames,
        WorkspaceDeclaration, check, print_catalogue,
    },
    quota::{
        BurnLimit, Charge, ClassPolicy, Kind, LimitName, OperationId, OrgId, Scope, Thresholds,
        Unknown, UserId, WorkspaceId,
        catalogue::{Cost, Max},
    },
};

/// The example of the documentation.
const EXAMPLE: &str = "\
unknown: {orgs: template, workspaces: count, users: refuse}
template: {daily_calls: 15000, concurrent_calls: 5, reserve_percent: 5}
outage_share: 10
catalogue:
  conversation-entries.get: {charges: [{limit: entries, scope: execution_user, max: 120, window: 1m}]}
  report.run: {charges: [{limit: calls, scope: org}, {limit: long, scope: org, kind: concurrency, max_duration: 10m}]}
orgs:
  - id: 00D3h000007R1Lu          # 15 characters become 18
    daily_calls: 100000
    daily_calls_max: 200000
    reserve_percent: 7
    header_lag: 1m30s
    execution_users: [0053V000000vD5qQAE, 005000000000001]
    workspaces:
      - {id: acme-eu, daily_calls: 5000, classes: {bulk: {pause: 40, resume: 40}, event: {pause: 80, resume: 60}}}
      - {id: acme-us, daily_calls: 5000, preset: strict}
  - id: sandbox
";

#[test]
fn the_documented_example_means_what_it_says() {
    let config = parse(EXAMPLE);
    assert_eq!(
        config.unknown,
        UnknownNames { orgs: Unknown::Accept, workspaces: Unknown::Accept, users: Unknown::Refuse }
    );
    assert_eq!(config.outage_share, 10);
    assert_eq!(
        charges(&config, "conversation-entries.get"),
        [Charge {
            limit: limit("entries"),
            scope: Scope::ExecutionUser,
            kind: Kind::Window,
            max: Max::Fixed(120),
            window: Duration::from_secs(60),
            cost: Cost::One,
            shadow: false,
        }]
    );
    assert_eq!(charges(&config, "report.run"), [Charge::org_total(), long()]);
    let names: Vec<&str> = config.orgs.keys().map(OrgId::as_str).collect();
    assert_eq!(names, ["00D3h000007R1LuEAK", "sandbox"]);
    let org = &config.orgs[&org("00D3h000007R1Lu")];
    assert_eq!(org.header_lag, Some(Duration::from_secs(90)));
    // Digits only, and yet an id.
    assert_eq!(org.execution_users[1].as_str(), "005000000000001AAA");
    assert_eq!(org.workspaces[0].classes.event, Some(Thresholds { pause: 80, resume: 60 }));
    assert_eq!(org.workspaces[1].preset.as_deref(), Some("strict"));
}

#[test]
fn an_empty_file_means_the_defaults() {
    for text in [
        "",
        "\n",
        "# nothing\n",
        "---\n",
        "---\n...\n",
        "{}",
        "~",
        "orgs:\ncatalogue:\n",
        "\u{feff}",
    ] {
        assert_eq!(parse(text), Config::built_in(), "{text:?}");
    }
    let built_in = Config::built_in();
    assert_eq!(
        built_in.template,
        Template { daily_calls: 15_000, concurrent_calls: 5, reserve_percent: 5 }
    );
    assert_eq!(built_in.outage_share, 0);
}

#[test]
fn windows_line_ends_are_line_ends() {
    assert_eq!(parse(&EXAMPLE.replace('\n', "\r\n")), parse(EXAMPLE));
    check_faults(
        "template:\r\n  daily_calls: 0\r\n",
        &[(2, "template.daily_calls", "must be a whole number from 1 to 100000000, is `0`")],
    );
}

#[test]
fn the_built_in_catalogue_has_the_published_limits() {
    let config = Config::built_in();
    let names: Vec<&str> = config.catalogue.operations.keys().map(OperationId::as_str).collect();
    let expected = [
        "conversation-entries.get",
        "conversation-participants.delete",
        "conversations.delete",
        "rest",
        "rest.long",
    ];
    assert_eq!(names, expected);
    // The operations of the samples, by their paths.
    for (row, name) in
        samples()["conversation_data_api"].as_array().expect("rows").iter().zip(expected)
    {
        let [charge] = charges(&config, name) else { panic!("{name} charges one limit") };
        assert!(row["op"].as_str().expect("op").contains(name.split('.').next().expect("path")));
        assert_eq!(charge.max, Max::Fixed(row["limit"].as_u64().expect("limit")), "{name}");
        assert_eq!(charge.window.as_secs(), row["window_s"].as_u64().expect("window"), "{name}");
        assert_eq!(charge.scope, Scope::ExecutionUser, "{name}");
    }
    assert_eq!(charges(&config, "rest"), [Charge::org_total()]);
    assert_eq!(charges(&config, "rest.long"), [Charge::org_total(), long()]);
}

#[test]
fn the_presets_have_the_numbers_of_the_samples() {
    let text = include_str!("../examples/catalogue-presets.yaml");
    let config = parse(text);
    let samples = samples();
    let presets: BTreeMap<&str, &serde_json::Value> = samples["limit_presets"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| (row["name"].as_str().expect("name"), row))
        .collect();
    // Preset, operation, and the edition where there are several numbers.
    let rows = [
        ("login", "login", None),
        ("bulk_batches", "bulk.batch", None),
        ("bulk_v2_query_jobs", "bulk.query-job", None),
        ("bulk_v2_query_results_kb", "bulk.query-results", None),
        ("bulk_v2_ingest_records", "bulk.ingest", None),
        ("platform_event_publish", "platform-event.publish", Some("EE/UE/PE/Prof+API")),
        ("platform_event_publish", "platform-event.publish-pubsub", Some("EE/UE/PE/Prof+API")),
        ("platform_event_delivery", "platform-event.deliver", Some("EE/Prof")),
        ("debugging_header_calls", "debugging-header", None),
        ("models_api_embeddings", "models.embeddings", None),
        ("miaw_access_token", "miaw.access-token", None),
        ("soql_query_cursors", "soql.cursor", None),
    ];
    for (preset, operation, edition) in rows {
        let row = presets[preset];
        let charge = &charges(&config, operation)[0];
        let number = edition.map_or(&row["limit"], |edition| &row["limit"][edition]);
        assert_eq!(charge.max, Max::Fixed(number.as_u64().expect("limit")), "{preset}");
        let scope = match charge.scope {
            Scope::Org => "org",
            Scope::Workspace => "workspace",
            Scope::ExecutionUser => "user",
        };
        assert_eq!(row["scope"], scope, "{preset}");
        let window = row["window"].as_str().map(|text| text.trim_end_matches(" rolling"));
        match charge.kind {
            Kind::Window => {
                let expected =
                    quotagate::duration::parse(window.expect("window")).expect("duration");
                assert_eq!(charge.window, expected, "{preset}");
            }
            Kind::Concurrency => assert_eq!(window, None, "{preset}"),
        }
    }
    // Every preset of an org or a user is an operation, here or built in.
    let built_in = ["org_daily_api", "org_long_running"];
    for (name, row) in &presets {
        if matches!(row["scope"].as_str(), Some("org" | "workspace" | "user")) {
            let served = built_in.contains(name) || rows.iter().any(|(preset, ..)| preset == name);
            assert!(served, "{name} is not served");
        }
    }
    let operations = rows.len() + Config::built_in().catalogue.operations.len();
    assert_eq!(config.catalogue.operations.len(), operations);
    assert_eq!(charges(&config, "platform-event.publish")[1], Charge::org_total());
}

#[test]
fn the_printed_catalogue_can_be_loaded_again() {
    let presets = include_str!("../examples/catalogue-presets.yaml");
    let odd_names = "\
catalogue:
  'null': {charges: [{limit: '1e5', scope: workspace, max: 7, window: 1h30m, cost: request}]}
  '007': {charges: [{limit: 'true', scope: execution_user, kind: concurrency, max: 3}], also_charge: true}
  tried: {charges: [{limit: tried, scope: org, max: 3, window: 1m, shadow: true}]}
";
    for text in ["", EXAMPLE, presets, odd_names] {
        let catalogue = parse(text).catalogue;
        let printed = print_catalogue(&catalogue);
        assert_eq!(parse(&printed).catalogue, catalogue, "{printed}");
    }
    assert_eq!(parse(BUILT_IN_CATALOGUE), Config::built_in());
    let checked = check::check("quotagate.yaml", EXAMPLE, true);
    assert!(checked.good);
    assert_eq!(parse(&checked.text).catalogue, parse(EXAMPLE).catalogue);
}

#[test]
fn every_fault_is_named_with_its_line_and_field() {
    check_faults(
        "\
unknown: {orgs: refused, workspace: count}
template:
  daily_calls: '15000'
  concurrent_calls: -1
  reserve_percent: 91
outage_share: 90.5
colour: blue
orgs:
  - id: 00D3h000007R1LuEAA
    daily_call: 5
    daily_calls: 300
    daily_calls_max: 200
    header_lag: 90
    execution_users: [0053V000000vD5q, 0053V000000vD5qQAE, a/b]
    workspaces:
      - {id: one, daily_calls: 0, preset: stict}
      - {id: one, classes: {event: {pause: 60, resume: 80}, bulk: {pause: 101}, control: {}}}
      - {daily_calls: 5}
  - id: two
    preset: {}
  - id: two
  - id: three
    workspaces:
      - {id: a, weight: 0, guaranteed_calls: 6, daily_calls: 5, shadow: 'yes'}
      - {id: b, weight: 1001, burn_limit: {calls: 0, windows: 30m}}
      - {id: c, burn_limit: {calls: 5, window: 25h}}
",
        &[
            (1, "unknown.workspace", "is not a key here: did you mean `workspaces`?"),
            (1, "unknown.orgs", "must be one of `template` and `refuse`, is `refused`"),
            (3, "template.daily_calls", "is a text: leave out the quotes"),
            (4, "template.concurrent_calls", "must be a whole number from 1 to 10000, is `-1`"),
            (5, "template.reserve_percent", "must be a whole number from 0 to 90, is `91`"),
            (6, "outage_share", "must be a whole number from 0 to 90, is `90.5`"),
            (7, "colour", "is not a key here: known are `unknown`, `template`"),
            (9, "orgs[0].id", "is not a Salesforce id"),
            (10, "orgs[0].daily_call", "did you mean `daily_calls`?"),
            (11, "orgs[0].daily_calls", "must be at most `daily_calls_max` (200), is 300"),
            (13, "orgs[0].header_lag", "must be a duration such as 90s, 1m or 1h30m, is \"90\""),
            (14, "orgs[0].execution_users[1]", "declared already, by `orgs[0].execution_users[0]`"),
            (14, "orgs[0].execution_users[2]", "contains '/'"),
            (16, "orgs[0].workspaces[0].daily_calls", "must be a whole number from 1"),
            (16, "orgs[0].workspaces[0].preset", "must be one of `default`, `strict` and `calm`"),
            (
                17,
                "orgs[0].workspaces[1].id",
                "`one` is declared already, by `orgs[0].workspaces[0].id`",
            ),
            (17, "orgs[0].workspaces[1].classes.control", "is not a key here"),
            (
                17,
                "orgs[0].workspaces[1].classes.bulk.pause",
                "must be a whole number from 1 to 100",
            ),
            (
                17,
                "orgs[0].workspaces[1].classes.bulk.resume",
                "is missing: add for example `resume: 60`",
            ),
            (
                17,
                "orgs[0].workspaces[1].classes.event.resume",
                "must be at most `pause` (60), is 80",
            ),
            (18, "orgs[0].workspaces[2].id", "is missing: add for example `id: acme-eu`"),
            (20, "orgs[1].preset", "must be one of `default`, `strict` and `calm`, is a mapping"),
            (21, "orgs[2].id", "`two` is declared already, by `orgs[1].id`"),
            (24, "orgs[3].workspaces[0].weight", "a whole number from 1 to 1000, is `0`"),
            (24, "orgs[3].workspaces[0].guaranteed_calls", "at most `daily_calls` (5), is 6"),
            (24, "orgs[3].workspaces[0].shadow", "must be `true` or `false` without quotes"),
            (25, "orgs[3].workspaces[1].weight", "from 1 to 1000, is `1001`"),
            (25, "orgs[3].workspaces[1].burn_limit.windows", "did you mean `window`?"),
            (25, "orgs[3].workspaces[1].burn_limit.calls", "must be a whole number from 1"),
            (25, "orgs[3].workspaces[1].burn_limit.window", "add for example `window: 30m`"),
            (26, "orgs[3].workspaces[2].burn_limit.window", "must be from 1s to 24h, is `25h`"),
        ],
    );
}

#[test]
fn a_webhook_is_read_and_no_fault_or_picture_of_it_shows_its_address() {
    let config = parse("webhook: {url: 'https://ops.example.com/h?token=T', secret_env: KEY}");
    let webhook = config.webhook.expect("it is declared");
    assert_eq!(webhook.url, "https://ops.example.com/h?token=T");
    assert_eq!((webhook.events.len(), webhook.cool_down), (6, Duration::from_secs(60)));
    assert!(!format!("{webhook:?}").contains("token"), "{webhook:?}");
    check_faults(
        "\
webhook:
  url: ftp://token@ops.example.com
  events: [class_paused, class_stopped]
  cool_down: 0s
",
        &[
            (1, "webhook.secret_file", "is missing"),
            (2, "webhook.url", "must begin with `https://` or `http://` and a host"),
            (3, "webhook.events[1]", "must be one of `class_paused`"),
            (4, "webhook.cool_down", "must be from 1s to 24h"),
        ],
    );
    check_faults(
        "webhook: {url: 'http://token@host/', secret_env: A, secret_file: b, events: []}",
        &[
            (1, "webhook.url", "must not hold a user or a password"),
            (1, "webhook.secret_env", "there is one secret"),
            (1, "webhook.events", "must name at least one event"),
        ],
    );
    let faults = Config::parse("webhook: {url: 'http://token@host/', secret_env: A}");
    assert!(!format!("{faults:?}").contains("token"));
}

#[test]
fn faults_of_the_catalogue_name_the_remedy() {
    let rows: &[(&str, &[ExpectedFault<'_>])] = &[
        (
            "a b: {charges: [{limit: calls, scope: org}]}",
            &[(2, "a b", "as an operation's name must consist of letters")],
        ),
        ("a: {}", &[(2, "a.charges", "is missing")]),
        (
            "a: {charges: [{limit: burn, scope: workspace, max: 1, window: 1m}]}",
            &[(2, "a.charges[0]", "declare it as the workspace's `burn_limit`")],
        ),
        (
            "a: {charges: [{limit: entries, scope: execution_user, max: 90, window: 1m, shadow: true}]}",
            &[(2, "a.charges[0]", "contradicts operation `conversation-entries.get`")],
        ),
        ("a: {charges: []}", &[(2, "a.charges", "must name at least one limit")]),
        ("a: {charges: {limit: calls}}", &[(2, "a.charges", "must be a list")]),
        (
            "a: {charges: [{limit: x, scope: team, max: 1, window: 1m}]}",
            &[(
                2,
                "a.charges[0].scope",
                "must be one of `org`, `workspace` and `execution_user`, is `team`",
            )],
        ),
        (
            "a: {charges: [{limit: x, scope: org, window: 1m}]}",
            &[(2, "a.charges[0].max", "is missing")],
        ),
        (
            "a: {charges: [{limit: x, scope: org, max: 0, window: 1m}]}",
            &[(2, "a.charges[0].max", "must be a whole number from 1 to 1000000000, is `0`")],
        ),
        (
            "a: {charges: [{limit: x, scope: execution_user, max: 5}]}",
            &[(2, "a.charges[0].window", "is missing")],
        ),
        (
            "a: {charges: [{limit: x, scope: workspace, max: 5, window: 500ms}]}",
            &[(2, "a.charges[0].window", "must be from 1s to 744h, is `500ms`")],
        ),
        (
            "a: {charges: [{limit: x, scope: workspace, max: 5, window: 32d}]}",
            &[(2, "a.charges[0].window", "must be from 1s to 744h, is `32d`")],
        ),
        (
            "a: {charges: [{limit: x, scope: org, max: 5, window: 1m, max_duration: 1m}]}",
            &[(2, "a.charges[0].max_duration", "belongs to `kind: concurrency`")],
        ),
        (
            "a: {charges: [{limit: x, scope: org, max: 5, kind: concurrency, window: 1m}]}",
            &[(2, "a.charges[0].window", "slots have `max_duration`")],
        ),
        (
            "a: {charges: [{limit: x, scope: execution_user, kind: concurrency}]}",
            &[(2, "a.charges[0].max", "is missing")],
        ),
        (
            "a: {charges: [{limit: x, scope: execution_user, kind: concurrency, max: 5, cost: request}]}",
            &[(2, "a.charges[0].cost", "a call takes one slot")],
        ),
        (
            "a: {charges: [{limit: calls, scope: org, max: 5, window: 1m, cost: one, kind: concurrency}]}",
            &[
                (2, "a.charges[0].max", "is its `daily_calls` in any 24 hours"),
                (2, "a.charges[0].window", "is its `daily_calls` in any 24 hours"),
                (2, "a.charges[0].kind", "must be `window`"),
                (2, "a.charges[0].cost", "must be `request`"),
            ],
        ),
        (
            "a: {charges: [{limit: calls, scope: workspace, max: 5, window: 1m}]}",
            &[(2, "a.charges[0]", "must not name the workspace's `calls`")],
        ),
        (
            "a: {charges: [{limit: calls, scope: org}], also_charge: true}",
            &[(2, "a.also_charge", "must not be `true`")],
        ),
        (
            "a: {charges: [{limit: calls, scope: org}], also_charge: 'yes'}",
            &[(2, "a.also_charge", "must be `true` or `false` without quotes")],
        ),
        (
            "a: {charges: [{limit: x, scope: org, max: 5, window: 1m}, {limit: x, scope: org, max: 5, window: 1m}]}",
            &[(2, "a.charges[1]", "charges the same limit as `catalogue.a.charges[0]`")],
        ),
        // One limit, one definition, also against what is built in.
        (
            "a: {charges: [{limit: entries, scope: execution_user, max: 91, window: 1m}]}",
            &[(
                2,
                "a.charges[0]",
                "contradicts operation `conversation-entries.get`, which charges the same limit as {limit: entries, scope: execution_user, max: 90, window: 1m}",
            )],
        ),
        (
            "a: {charges: [{limit: x, scope: org, max: 5, window: 1m}]}\n  b: {charges: [{limit: x, scope: org, max: 5, window: 1h}]}",
            &[(3, "b.charges[0]", "contradicts operation `a`")],
        ),
        (
            "a: {charges: [{limit: x, scope: org, max: 5, window: 1m}]}\n  b: {charges: [{limit: x, scope: org, kind: concurrency, max: 5, max_duration: 1m}]}",
            &[(3, "b.charges[0]", "contradicts operation `a`")],
        ),
        (
            "a: {charges: [{limit: slots, scope: org, kind: concurrency}]}",
            &[(
                2,
                "a.charges[0]",
                "the org's slots are named `long` already, by operation `rest.long`",
            )],
        ),
        (
            "a: {charges: [{limit: long, scope: org, kind: concurrency, max_duration: 5m}]}",
            &[(2, "a.charges[0]", "contradicts operation `rest.long`")],
        ),
        // Everything about one charge at once.
        (
            "a: {charges: [{limit: x y, scop: org, kind: windw, max: many, window: soon, cost: 2}]}",
            &[
                (2, "a.charges[0].scop", "did you mean `scope`?"),
                (2, "a.charges[0].limit", "contains ' '"),
                (2, "a.charges[0].scope", "is missing"),
                (2, "a.charges[0].kind", "must be one of `window` and `concurrency`"),
                (2, "a.charges[0].cost", "must be one of `one` and `request`"),
            ],
        ),
    ];
    for (operation, expected) in rows {
        let expected: Vec<(usize, String, &str)> = expected
            .iter()
            .map(|(line, field, message)| (*line, format!("catalogue.{field}"), *message))
            .collect();
        let expected: Vec<ExpectedFault<'_>> = expected
            .iter()
            .map(|(line, field, message)| (*line, field.as_str(), *message))
            .collect();
        check_faults(&format!("catalogue:\n  {operation}\n"), &expected);
    }
}

#[test]
fn good_catalogues_are_accepted() {
    let rows = [
        // The same limit with the same numbers, whatever the cost.
        "a: {charges: [{limit: entries, scope: execution_user, max: 90, window: 1m, cost: request}]}",
        // The same name in another scope is another limit.
        "a: {charges: [{limit: entries, scope: org, max: 5, window: 1h}, {limit: entries, scope: workspace, max: 5, window: 1m}]}",
        // An override may change the numbers.
        "conversation-entries.get: {charges: [{limit: entries, scope: execution_user, max: 200, window: 30s}], also_charge: true}",
        "rest.long: {charges: [{limit: slots, scope: org, kind: concurrency, max_duration: 5m}]}",
        "a: {charges: [{limit: calls, scope: org, kind: window, cost: request}]}",
        "a: {charges: [{limit: slots, scope: org, kind: concurrency, max: 3}], also_charge: false}",
        "a: {charges: [{limit: slots, scope: org, kind: concurrency, max: 3, shadow: true}]}",
    ];
    for row in rows {
        parse(&format!("catalogue:\n  {row}\n"));
    }
    let config = parse(&format!("catalogue:\n  {}\n", rows[2]));
    assert_eq!(charges(&config, "conversation-entries.get")[1], Charge::org_total());
}

#[test]
fn a_text_that_is_not_one_plain_document_is_refused() {
    let deep_flow = "[".repeat(100_000);
    let deep_block = "- ".repeat(100_000);
    let deep_keys = "? ".repeat(100_000);
    let deep_pairs = "{a: ".repeat(100_000);
    let deep_indent: String = (0..500).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let long = "#".repeat((4 << 20) + 1);
    let many = format!("orgs: [{}]", "~,".repeat(600_000));
    let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\norgs: *c\n";
    let rows: &[(&str, Option<usize>, &str)] = &[
        ("a: [1,\nb: 2\n", Some(2), "is not YAML"),
        ("orgs:\n\t- id: x\n", Some(2), "is not YAML"),
        ("template: {daily_calls: 5}\n---\ntemplate: {}\n", Some(2), "must be one document"),
        ("- a\n", Some(1), "must be a mapping with keys (`key: value`), is a list"),
        ("hello", Some(1), "must be a mapping with keys (`key: value`), is `hello`"),
        ("template: {}\n\0orgs: []", Some(2), "must not contain a NUL"),
        ("template: !secret x", Some(1), "tags (`!name`) are not supported"),
        ("? {a: b}\n: c", Some(1), "a key must be a plain name"),
        (bomb, Some(2), "aliases (`*name`) are not supported"),
        (&deep_flow, Some(1), "recursion limit exceeded"),
        (&deep_block, Some(1), "must be nested at most 32 deep"),
        (&deep_keys, Some(1), "must be nested at most 32 deep"),
        (&deep_pairs, Some(1), "recursion limit exceeded"),
        (&deep_indent, None, "must be nested at most 32 deep"),
        (&long, None, "must have at most 4194304 bytes, has 4194305"),
        (&many, Some(1), "must have at most 500000 values"),
    ];
    for (text, line, message) in rows {
        let start: String = text.chars().take(40).collect();
        let faults = Config::parse(text).expect_err(&start);
        let found = faults.iter().any(|fault| {
            (line.is_none() || fault.line == *line) && fault.message.contains(message)
        });
        assert!(found, "{start:?}: {faults:?}");
    }
}

#[test]
fn a_key_that_stands_twice_is_a_fault() {
    check_faults(
        "template: {daily_calls: 5}\noutage_share: 1\ntemplate: {daily_calls: 6}\n",
        &[(3, "template", "is here already, on line 1")],
    );
    check_faults(
        "catalogue:\n  rest: {charges: [{limit: calls, scope: org}]}\n  rest: {charges: []}\n",
        &[(3, "catalogue.rest", "is here already, on line 2")],
    );
}

#[test]
fn thresholds_are_resolved_from_the_default_to_the_workspaces_own() {
    let config = parse(
        "\
orgs:
  - id: plain
    workspaces: [{id: w}]
  - id: full
    preset: strict
    classes: {bulk: {pause: 30, resume: 20}}
    workspaces:
      - {id: inherits}
      - {id: preset, preset: calm}
      - {id: own, classes: {event: {pause: 90, resume: 70}}}
      - {id: both, preset: default, classes: {interactive: {pause: 99, resume: 9}}}
",
    );
    let percent = |pause, resume| Thresholds { pause, resume };
    let default = ClassPolicy::default();
    let org_own = ClassPolicy { bulk: percent(30, 20), event: percent(60, 60), ..default };
    let rows = [
        ("plain", "w", default),
        ("full", "inherits", org_own),
        ("full", "preset", ClassPolicy { bulk: percent(40, 38), ..default }),
        ("full", "own", ClassPolicy { event: percent(90, 70), ..org_own }),
        ("full", "both", ClassPolicy { interactive: percent(99, 9), ..default }),
    ];
    for (name, workspace, expected) in rows {
        let policy = config.policy(&config.orgs[&org(name)], 1);
        assert_eq!(policy.workspaces[&self::workspace(workspace)].classes, expected, "{workspace}");
    }
    assert_eq!(config.policy(&config.orgs[&org("full")], 1).classes, org_own);
}

#[test]
fn a_policy_takes_from_the_template_what_is_not_declared() {
    let config = parse(
        "\
unknown: {workspaces: refuse}
template: {daily_calls: 900, concurrent_calls: 7, reserve_percent: 3}
outage_share: 20
orgs:
  - {id: a, daily_calls_max: 500, execution_users: [z, b, y]}
  - {id: b, daily_calls: 10, concurrent_calls: 1, reserve_percent: 0, header_lag: 5s}
",
    );
    let a = config.policy(&config.orgs[&org("a")], 4);
    assert_eq!((a.daily_calls, a.daily_calls_max, a.concurrent_calls), (500, Some(500), 7));
    assert_eq!((a.reserve_percent, a.outage_share, a.revision), (3, 20, 4));
    assert_eq!((a.unknown_workspaces, a.unknown_users), (Unknown::Refuse, Unknown::Accept));
    assert_eq!(a.pool.iter().map(UserId::as_str).collect::<Vec<_>>(), ["b", "y", "z"]);
    let b = config.policy(&config.orgs[&org("b")], 4);
    assert_eq!((b.daily_calls, b.concurrent_calls, b.reserve_percent), (10, 1, 0));
    assert_eq!(b.header_lag, Duration::from_secs(5));
    let unknown = config.template_policy(&org("c"), 9);
    assert_eq!((unknown.daily_calls, unknown.concurrent_calls, unknown.revision), (900, 7, 9));
    assert!(unknown.pool.is_empty() && unknown.workspaces.is_empty());
}

#[test]
fn a_declaration_from_elsewhere_is_checked_by_the_same_rules() {
    let mut declaration = OrgDeclaration::new(org("acme"));
    assert_eq!(declaration.check(), []);
    declaration.daily_calls = Some(0);
    declaration.reserve_percent = Some(91);
    declaration.header_lag = Some(Duration::from_secs(3601));
    declaration.preset = Some("wild: {".to_owned());
    declaration.execution_users = vec![user("a"), user("b"), user("a")];
    let bulk = Some(Thresholds { pause: 0, resume: 1 });
    let event = Some(Thresholds { pause: 50, resume: 51 });
    declaration.workspaces = vec![
        WorkspaceDeclaration {
            daily_calls: Some(u64::MAX),
            classes: PartialClasses { bulk, event, interactive: None },
            ..WorkspaceDeclaration::new(workspace("w #1"))
        },
        WorkspaceDeclaration::new(workspace("w #1")),
    ];
    let faults = declaration.check();
    let fields: Vec<&str> = faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "daily_calls",
            "reserve_percent",
            "header_lag",
            "preset",
            "execution_users[2]",
            "workspaces[0].daily_calls",
            "workspaces[0].classes.bulk.pause",
            "workspaces[0].classes.event.resume",
            "workspaces[1].id",
        ]
    );
    assert!(faults.iter().all(|fault| fault.line.is_none()));
}

#[test]
fn what_is_allowed_but_odd_is_said_as_a_warning() {
    let rows = [
        (
            "{id: a, daily_calls: 100, workspaces: [{id: x, daily_calls: 60}, {id: y, daily_calls: 40}]}",
            vec![],
        ),
        (
            "{id: a, daily_calls: 100, workspaces: [{id: x, daily_calls: 60}, {id: y, daily_calls: 41}, {id: z}]}",
            vec!["add up to 101"],
        ),
        (
            "{id: a, workspaces: [{id: x, daily_calls: 15001}]}",
            vec!["workspace x (15,001) is above the org's total (15,000)", "add up to 15,001"],
        ),
        (
            "{id: a, daily_calls: 100, workspaces: [{id: x, guaranteed_calls: 60}, {id: y, guaranteed_calls: 35}]}",
            vec![],
        ),
        (
            "{id: a, daily_calls: 100, workspaces: [{id: x, guaranteed_calls: 60}, {id: y, guaranteed_calls: 36}]}",
            vec!["guarantees of the workspaces add up to 96"],
        ),
    ];
    let template = Config::built_in().template;
    for (text, expected) in rows {
        let warnings = OrgDeclaration::from_yaml(text).expect(text).warnings(&template);
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        for (warning, part) in warnings.iter().zip(expected) {
            assert!(warning.contains(part), "{warning}");
        }
    }
}

#[test]
fn the_check_command_prints_a_summary_or_every_fault() {
    let good = check::check("q.yaml", EXAMPLE, false);
    assert!(good.good);
    assert_eq!(good.text, "q.yaml: good: 2 orgs, 2 workspaces, 6 operations\n");
    let odd = "orgs: [{id: a, daily_calls: 5, workspaces: [{id: x, daily_calls: 9}]}]";
    let odd = check::check("q.yaml", odd, false);
    assert!(
        odd.good && odd.text.contains("\nwarning: org a: The cap of workspace x"),
        "{}",
        odd.text
    );
    let bad = check::check("q.yaml", "outage_share: 91\norg: []\n", false);
    assert!(!bad.good);
    assert_eq!(
        bad.text,
        "q.yaml:1: outage_share: must be a whole number from 0 to 90, is `91`\n\
         q.yaml:2: org: is not a key here: did you mean `orgs`?\n\
         2 faults\n"
    );
    let syntax = check::check("q.yaml", "a: [", false);
    assert!(syntax.text.starts_with("q.yaml:1: is not YAML: "), "{}", syntax.text);
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("q.yaml");
    let missing = check::check_file(&path, false);
    assert!(!missing.good && missing.text.contains("cannot be read"), "{}", missing.text);
    std::fs::write(&path, b"template: {}\norgs: [{id: \xff}]\n").expect("written");
    let latin = check::check_file(&path, false);
    assert!(latin.text.contains("q.yaml:2: is not UTF-8"), "{}", latin.text);
    let endless = check::check_file(std::path::Path::new("/dev/zero"), false);
    assert!(endless.text.contains("must have at most"), "{}", endless.text);
}

proptest! {
    #[test]
    fn reading_never_panics(text in "\\PC{0,200}|[-{}\\[\\]:,#&*!|>'\"%@`?a0~ \t\r\n]{0,200}") {
        let _ = Config::parse(&text);
    }

    #[test]
    fn reading_a_mutated_file_never_panics(
        source in prop_oneof![
            Just(EXAMPLE),
            Just(include_str!("../src/config/catalogue.yaml")),
            Just(include_str!("../examples/catalogue-presets.yaml")),
        ],
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<char>(), 0..3_u8), 1..8),
    ) {
        let mut chars: Vec<char> = source.chars().collect();
        for (place, new, kind) in edits {
            let place = place.index(chars.len());
            match kind {
                0 => chars[place] = new,
                1 => chars.insert(place, ":{}[]-,&*\n \"'#"[..].chars().nth(new as usize % 14).unwrap_or(new)),
                _ => { chars.remove(place); }
            }
        }
        let text: String = chars.into_iter().collect();
        if let Err(faults) = Config::parse(&text) {
            prop_assert!(!faults.is_empty());
        }
    }

    #[test]
    fn a_declaration_survives_being_written_and_read(declaration in declarations()) {
        let yaml = declaration.to_yaml();
        prop_assert_eq!(OrgDeclaration::from_yaml(&yaml), Ok(declaration.clone()), "{}", yaml);
        // The same as an entry of the file.
        let entry = format!("orgs:\n  - {}", yaml.trim_end().replace('\n', "\n    "));
        let config = Config::parse(&entry);
        prop_assert_eq!(config.map(|config| config.orgs), Ok(BTreeMap::from([(declaration.id.clone(), declaration)])));
    }
}

fn declarations() -> impl Strategy<Value = OrgDeclaration> {
    let ids = "[A-Za-z0-9._-]{1,64}|[0-9]{1,18}|null|true|1e5|00D[0-9]{12}";
    let org = ids.prop_filter_map("a good id", |text| OrgId::parse(&text).ok());
    let user = "[A-Za-z0-9._-]{1,64}|005[0-9]{12}|~|0x1F|off|1_000|-"
        .prop_filter_map("a good id", |text| UserId::parse(&text).ok());
    let workspace = "\\PC{1,40}|[-?:,\\[\\]{}#&*!|>'\"%@` \\\\~=<]{1,20}|null|5|.{1,30}"
        .prop_filter_map("a good id", |text| WorkspaceId::parse(&text).ok());
    let preset = || prop::option::of(prop::sample::select(&ClassPolicy::PRESETS[..]));
    let thresholds = || {
        prop::option::of((1..=100_u32).prop_flat_map(|pause| (Just(pause), 1..=pause)))
            .prop_map(|pair| pair.map(|(pause, resume)| Thresholds { pause, resume }))
    };
    let classes = move || {
        (thresholds(), thresholds(), thresholds())
            .prop_map(|(bulk, event, interactive)| PartialClasses { bulk, event, interactive })
    };
    let workspaces = prop::collection::btree_map(
        workspace,
        (prop::option::of(1_000_000..=100_000_000_u64), preset(), classes(), own_limits()),
        0..4,
    )
    .prop_map(|map| {
        let workspace = |(id, (daily_calls, preset, classes, own))| {
            let (id, preset): (WorkspaceId, Option<&str>) = (id, preset);
            let own: WorkspaceDeclaration = own;
            WorkspaceDeclaration {
                id,
                daily_calls,
                preset: preset.map(str::to_owned),
                classes,
                ..own
            }
        };
        map.into_iter().map(workspace).collect::<Vec<_>>()
    });
    let numbers = (
        prop::option::of(1..=1_000_000_u64),
        prop::option::of(1_000_000..=100_000_000_u64),
        prop::option::of(1..=10_000_u64),
        prop::option::of(0..=90_u32),
        prop::option::of((0..3600_u64, 0..1_000_000_000_u32)),
    );
    let users = prop::collection::btree_set(user, 0..4);
    (org, numbers, users, workspaces, preset(), classes()).prop_map(
        |(id, (daily, most, concurrent, reserve, lag), users, workspaces, preset, classes)| {
            OrgDeclaration {
                id,
                daily_calls: daily,
                daily_calls_max: most,
                concurrent_calls: concurrent,
                reserve_percent: reserve,
                header_lag: lag.map(|(seconds, nanos)| Duration::new(seconds, nanos)),
                execution_users: users.into_iter().collect(),
                workspaces,
                preset: preset.map(str::to_owned),
                classes,
            }
        },
    )
}

/// What a workspace may have besides a cap and thresholds.
fn own_limits() -> impl Strategy<Value = WorkspaceDeclaration> {
    let burn_limit = (1..=100_000_000_u64, 1..=86_400_u64).prop_map(|(calls, seconds)| {
        let window = Duration::from_secs(seconds);
        BurnLimit { calls, window }
    });
    (
        prop::option::of(1..=1_000_u32),
        prop::option::of(1..=1_000_000_u64),
        prop::option::of(burn_limit),
        any::<bool>(),
    )
        .prop_map(|(weight, guaranteed_calls, burn_limit, shadow)| WorkspaceDeclaration {
            weight,
            guaranteed_calls,
            burn_limit,
            shadow,
            ..WorkspaceDeclaration::new(workspace("any"))
        })
}

/// Line, field, part of the message.
type ExpectedFault<'a> = (usize, &'a str, &'a str);

/// The text has exactly these faults, in this order.
#[track_caller]
fn check_faults(text: &str, expected: &[ExpectedFault<'_>]) {
    let faults = Config::parse(text).expect_err(text);
    let found: Vec<String> = faults.iter().map(Fault::to_string).collect();
    assert_eq!(faults.len(), expected.len(), "{text}\n{found:#?}");
    for (fault, (line, field, message)) in faults.iter().zip(expected) {
        assert_eq!((fault.line, fault.field.as_str()), (Some(*line), *field), "{found:#?}");
        assert!(fault.message.contains(message), "{fault} does not say {message:?}");
    }
}

#[track_caller]
fn parse(text: &str) -> Config {
    match Config::parse(text) {
        Ok(config) => config,
        Err(faults) => panic!("{text}\n{faults:#?}"),
    }
}

fn charges<'c>(config: &'c Config, operation: &str) -> &'c [Charge] {
    let operation = OperationId::parse(operation).expect("an operation");
    &config.catalogue.get(&operation).expect("in the catalogue").charges
}

/// The org's slots for long-running requests.
fn long() -> Charge {
    Charge {
        limit: limit("long"),
        scope: Scope::Org,
        kind: Kind::Concurrency,
        max: Max::OrgConcurrent,
        window: Duration::from_secs(600),
        cost: Cost::One,
        shadow: false,
    }
}

fn samples() -> serde_json::Value {
    serde_json::from_str(include_str!("data/salesforce_samples.json")).expect("JSON")
}

fn limit(text: &str) -> LimitName {
    LimitName::parse(text).expect("a limit")
}

fn org(text: &str) -> OrgId {
    OrgId::parse(text).expect("an org")
}

fn user(text: &str) -> UserId {
    UserId::parse(text).expect("a user")
}

fn workspace(text: &str) -> WorkspaceId {
    WorkspaceId::parse(text).expect("a workspace")
}
