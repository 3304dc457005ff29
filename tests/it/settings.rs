//! The pages on which orgs are declared, as a browser without scripts uses them.

use std::collections::BTreeMap;

use quotagate::auth::token::{Hex, hash};

use crate::{
    common::TestServer,
    talk::{Answer, acquire},
};

const FILE: &str = "
orgs:
  - {id: acme, daily_calls: 100, execution_users: [alice], workspaces: [{id: eu, daily_calls: 50, weight: 3}]}
";
const ORG: &str = "/orgs/acme/settings";
const WORKSPACE: &str = "/orgs/acme/settings/workspace";
const OURS: &str = "host: localhost\r\norigin: http://localhost\r\n";

type Fields = BTreeMap<String, String>;

async fn get(server: &TestServer, path: &str) -> Answer {
    server.http(&format!("GET {path}"), "host: localhost\r\n", "").await
}

async fn post(server: &TestServer, path: &str, headers: &str, fields: &Fields) -> Answer {
    let encoded =
        |text: &String| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    let pairs: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    let headers = format!("{headers}content-type: application/x-www-form-urlencoded\r\n");
    server.http(&format!("POST {path}"), &headers, &pairs.join("&")).await
}

/// What the form sends whose hidden field `what` is this.
fn form(page: &Answer, what: &str) -> Fields {
    let mut forms = page
        .body
        .split("<form ")
        .skip(1)
        .map(|form| form.split("</form>").next().unwrap_or_default());
    let wanted = format!("name=\"what\" value=\"{what}\"");
    let form = forms
        .find(|form| form.contains(&wanted))
        .unwrap_or_else(|| panic!("no form {what}: {}", page.body));
    let attribute = |tag: &str, name: &str| {
        let rest = tag.split_once(&format!(" {name}=\""))?.1;
        let value = rest.split_once('"')?.0;
        Some(value.replace("&#34;", "\"").replace("&#60;", "<").replace("&#38;", "&"))
    };
    let inputs = form.split("<input").skip(1).filter(|tag| !tag.contains("type=\"checkbox\""));
    inputs
        .filter_map(|tag| {
            let tag = tag.split('>').next()?;
            Some((attribute(tag, "name")?, attribute(tag, "value").unwrap_or_default()))
        })
        .collect()
}

fn with(mut fields: Fields, typed: &[(&str, &str)]) -> Fields {
    fields.extend(typed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    fields
}

#[track_caller]
fn check(answer: &Answer, status: u16, parts: &[&str]) {
    assert_eq!(answer.status, status, "{answer:?}");
    for part in parts {
        assert!(answer.body.contains(part), "{part:?} is not in {}", answer.body);
    }
}

/// Where a saved form leads.
fn location(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{answer:?}");
    let line = answer.head.lines().find_map(|line| line.strip_prefix("location: "));
    line.expect("it leads on").to_owned()
}

/// Reviews a form, and saves it: the page that says what was done.
async fn save(server: &TestServer, path: &str, fields: &Fields) -> Answer {
    let review = post(server, path, OURS, fields).await;
    check(&review, 200, &["What would change", "value=\"save\""]);
    let what = fields["what"].clone();
    let saved = post(server, path, OURS, &with(form(&review, &what), &[("step", "save")])).await;
    get(server, &location(&saved)).await
}

#[tokio::test]
async fn a_change_is_shown_before_it_is_saved_and_said_when_it_is_done() {
    let server = TestServer::start(FILE).await;
    let page = get(&server, ORG).await;
    check(&page, 200, &["Declared by the configuration file", "value=\"100\""]);
    let typed = with(form(&page, "org"), &[("daily_calls", "1,234"), ("preset", "strict")]);
    let review = post(&server, ORG, OURS, &typed).await;
    check(
        &review,
        200,
        &["Save these settings?", "1,234", "pauses at 60\u{a0}%, resumes below 60\u{a0}%"],
    );
    assert_eq!(server.get_org().await.changes, [], "nothing is saved before it is asked for");

    let done = save(&server, ORG, &typed).await;
    check(&done, 200, &["Saved, and in force", "1,234"]);
    let entry = server.get_org().await.entry.expect("the entry");
    let org = entry.org.expect("the org");
    assert_eq!((org.daily_calls, org.preset.as_str()), (1_234, "strict"));
    // What the form does not show is kept, and what the template gives stays its own.
    assert_eq!(org.execution_users, ["alice"]);
    assert_eq!((org.workspaces[0].id.as_str(), org.workspaces[0].weight), ("eu", 3));
    assert_eq!(entry.from_template, ["concurrent_calls", "reserve_percent"]);
    assert_eq!(server.get_org().await.changes.len(), 1);
    // It is enforced on the next call.
    server.permit(quotagate::proto::v1::AcquireRequest { calls: 1_000, ..acquire("rest") }).await;
}

#[tokio::test]
async fn workspaces_and_users_are_added_changed_and_removed() {
    let server = TestServer::start(FILE).await;
    let new = get(&server, WORKSPACE).await;
    let typed = [
        ("id", "us & more"),
        ("daily_calls", "40"),
        ("burn_limit.calls", "5"),
        ("burn_limit.window", "1m"),
    ];
    let done = save(&server, WORKSPACE, &with(form(&new, "workspace"), &typed)).await;
    check(&done, 200, &["us &#38; more", "at most 5 calls in any minute"]);
    let path = format!("{WORKSPACE}?id=us%20%26%20more");
    let edit = get(&server, &path).await;
    check(&edit, 200, &["value=\"40\"", "value=\"1m\""]);
    let cap = [("daily_calls", "60"), ("known", "us & more"), ("id", "us & more")];
    let done = save(&server, WORKSPACE, &with(form(&edit, "workspace"), &cap)).await;
    check(&done, 200, &["40 calls", "60 calls"]);
    let again = [("id", "eu")];
    let taken = post(&server, WORKSPACE, OURS, &with(form(&new, "workspace"), &again)).await;
    check(&taken, 400, &["Is declared already", "value=\"eu\""]);
    let gone = [("known", "us & more")];
    let edit = get(&server, &path).await;
    let done = save(&server, WORKSPACE, &with(form(&edit, "remove"), &gone)).await;
    check(&done, 200, &["not declared"]);
    check(&get(&server, &path).await, 404, &[]);

    let page = get(&server, ORG).await;
    let bob = [("execution_user", "bob")];
    check(&save(&server, ORG, &with(form(&page, "add-user"), &bob)).await, 200, &["in the pool"]);
    let page = get(&server, ORG).await;
    let alice = [("execution_user", "alice")];
    save(&server, ORG, &with(form(&page, "remove-user"), &alice)).await;
    let entry = server.get_org().await.entry.expect("the entry");
    assert_eq!(entry.org.expect("the org").execution_users, ["bob"]);

    let page = get(&server, ORG).await;
    let done = save(&server, ORG, &form(&page, "withdraw")).await;
    check(&done, 200, &["Saved, and in force", "Declared by the configuration file"]);
    for path in ["/orgs/acme/changes", "/changes"] {
        let changes = get(&server, path).await;
        check(
            &changes,
            200,
            &["withdrew the declaration", "added an execution user", "<del>", "<ins>"],
        );
    }
}

#[tokio::test]
async fn what_cannot_be_saved_comes_back_as_it_was_typed() {
    let server = TestServer::start(FILE).await;
    let page = get(&server, ORG).await;
    // Before the service is asked, and by the service.
    for (field, typed, fault) in [
        ("daily_calls", "1,5", "Must be a whole number"),
        ("daily_calls_max", "0", "leave it empty for no bound"),
        ("header_lag", "soon", "Must be a duration"),
        ("classes.bulk.pause", "40", "must be given, too"),
        ("daily_calls_max", "99", "Must be at most “Never more than” (99)"),
        ("reserve_percent", "95", "90"),
        ("header_lag", "2h", "1h"),
    ] {
        let answer = post(&server, ORG, OURS, &with(form(&page, "org"), &[(field, typed)])).await;
        let value = format!("value=\"{typed}\"");
        check(&answer, 400, &["role=\"alert\"", fault, &value, "aria-invalid=\"true\""]);
    }
    let user = with(form(&page, "add-user"), &[("execution_user", "a b")]);
    check(
        &post(&server, ORG, OURS, &user).await,
        400,
        &["value=\"a b\"", "id=\"e-execution_user\""],
    );
    let new = get(&server, WORKSPACE).await;
    let typed = [("id", "a/b"), ("daily_calls", "7"), ("guaranteed_calls", "8")];
    let answer = post(&server, WORKSPACE, OURS, &with(form(&new, "workspace"), &typed)).await;
    check(&answer, 400, &["value=\"a/b\"", "id=\"e-id\""]);
    let typed = [("id", "ab"), ("daily_calls", "7"), ("guaranteed_calls", "8")];
    let answer = post(&server, WORKSPACE, OURS, &with(form(&new, "workspace"), &typed)).await;
    check(&answer, 400, &["value=\"8\"", "id=\"e-guaranteed_calls\""]);
    let odd = BTreeMap::from([("org".to_owned(), "00D000000000001EAB".to_owned())]);
    check(
        &post(&server, "/settings", OURS, &odd).await,
        400,
        &["00D000000000001EAB", "last three characters"],
    );
    assert_eq!(server.get_org().await.changes, []);
}

#[tokio::test]
async fn who_was_faster_is_shown_and_nothing_typed_is_lost() {
    let server = TestServer::start(FILE).await;
    let page = get(&server, ORG).await;
    let typed = with(form(&page, "org"), &[("daily_calls", "300")]);
    let review = post(&server, ORG, OURS, &typed).await;
    let other = quotagate::proto::admin::v1::Org {
        id: "acme".into(),
        daily_calls: 200,
        preset: "calm".into(),
        ..Default::default()
    };
    server.put_org(other).await;
    let save = with(form(&review, "org"), &[("step", "save")]);
    let conflict = post(&server, ORG, OURS, &save).await;
    check(
        &conflict,
        409,
        &[
            "Somebody else was faster",
            "127.0.0.1",
            "value=\"300\"",
            "In force now: 200",
            "<option selected>calm",
        ],
    );
    assert_eq!(server.get_org().await.entry.expect("it").org.expect("it").daily_calls, 200);
    // Reviewed upon what holds now, it is saved.
    let again = with(form(&conflict, "org"), &[("preset", "calm")]);
    let done = self::save(&server, ORG, &again).await;
    check(&done, 200, &["Saved, and in force"]);
    let org = server.get_org().await.entry.expect("it").org.expect("it");
    assert_eq!((org.daily_calls, org.preset.as_str()), (300, "calm"));
}

#[tokio::test]
async fn an_org_is_added_once() {
    let server = TestServer::start("").await;
    let name = BTreeMap::from([("org".to_owned(), "acme".to_owned())]);
    assert_eq!(location(&post(&server, "/settings", OURS, &name).await), ORG);
    let page = get(&server, ORG).await;
    check(&page, 200, &["Nobody has declared this org", "placeholder=\"15,000\""]);
    let typed = with(form(&page, "org"), &[("daily_calls", "5")]);
    check(&save(&server, ORG, &typed).await, 200, &["Saved, and in force"]);
    // The form of before knows nothing of that.
    let late = post(&server, ORG, OURS, &typed).await;
    check(&late, 409, &["Somebody else was faster"]);
    check(&get(&server, "/settings?q=ac").await, 200, &["/orgs/acme/settings", "administrator"]);
    check(&get(&server, "/settings?q=b").await, 200, &["No org that you administer"]);
    check(&get(&server, "/settings").await, 200, &["conversation-entries.get", "90 in any minute"]);
}

#[tokio::test]
async fn only_this_services_pages_may_send_forms() {
    let server = TestServer::start(FILE).await;
    let page = get(&server, ORG).await;
    let fields = with(form(&page, "org"), &[("daily_calls", "1"), ("step", "save")]);
    for headers in ["host: localhost\r\norigin: http://evil.example\r\n", "host: evil.example\r\n"]
    {
        for path in [ORG, WORKSPACE, "/settings"] {
            let answer = post(&server, path, headers, &fields).await;
            assert_eq!(answer.status, 403, "{path} {headers}: {answer:?}");
        }
    }
    assert_eq!(server.get_org().await.changes, []);
}

#[tokio::test]
async fn who_may_not_administer_sees_what_is_in_force_and_cannot_save() {
    let token = |who: &str| format!("qg_{who}_0123456789abcdefghijklmnopqrstuvwxyz");
    let tokens: String = ["viewer", "landlord", "sync"]
        .iter()
        .map(|who| format!("    - {{name: {who}, sha256: \"{}\"}}\n", Hex(&hash(&token(who)))))
        .collect();
    let rules = r#"
    - {who: ["token:viewer"], orgs: ["acme"], workspaces: ["*", ""], may: [read]}
    - {who: ["token:landlord"], orgs: ["acme"], workspaces: ["eu"], may: [admin]}
    - {who: ["token:sync"], orgs: ["acme"], workspaces: ["eu"], may: [acquire]}"#;
    let server =
        TestServer::start(&format!("{FILE}auth:\n  tokens:\n{tokens}  rules:{rules}\n")).await;
    let by = |who: &str| format!("authorization: Bearer {}\r\n", token(who));
    let look = async |who: &str, path: &str| {
        let headers = format!("host: localhost\r\n{}", by(who));
        server.http(&format!("GET {path}"), &headers, "").await
    };
    let seen = look("viewer", ORG).await;
    check(&seen, 200, &["What is in force", "eu", "100"]);
    assert!(!seen.body.contains("<input"), "{seen:?}");
    for (who, path) in [
        ("viewer", "/settings"),
        ("viewer", "/orgs/acme/changes"),
        ("sync", ORG),
        ("landlord", "/orgs/beta/settings"),
    ] {
        check(&look(who, path).await, 403, &["Not allowed"]);
    }
    let own = look("landlord", ORG).await;
    check(&own, 200, &["the right <code>admin</code> for the whole org"]);
    assert!(!own.body.contains("name=\"daily_calls\"") && !own.body.contains("alice"), "{own:?}");
    let theirs = form(&look("landlord", &format!("{WORKSPACE}?id=eu")).await, "workspace");
    let headers = format!("{OURS}{}", by("landlord"));
    let typed = with(theirs, &[("daily_calls", "60"), ("step", "save")]);
    assert_eq!(post(&server, WORKSPACE, &headers, &typed).await.status, 303);
    check(&look("landlord", "/orgs/acme/changes").await, 200, &["who administer all of it"]);
    let present = look("landlord", &format!("{WORKSPACE}?id=eu")).await;
    let etag = form(&present, "workspace")["etag"].clone();
    let org = BTreeMap::from([
        ("what".to_owned(), "org".to_owned()),
        ("etag".to_owned(), etag),
        ("daily_calls".to_owned(), "1".to_owned()),
        ("step".to_owned(), "save".to_owned()),
    ]);
    for who in ["landlord", "viewer"] {
        let headers = format!("{OURS}{}", by(who));
        assert_eq!(post(&server, ORG, &headers, &org).await.status, 403, "{who}");
    }
}
