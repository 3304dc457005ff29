//! Who a certificate says somebody is, and what that lets them do, through the real
//! server.

use quotagate::{
    client::Client,
    config::Config,
    proto::{admin::v1 as admin, v1},
    server::{Connections, Options, Service},
    tls::{ClientAuth, ClientFiles},
};
use tonic::{Code, Status};

use crate::{
    pki::{Authority, Files, Valid},
    world::client,
};

const CONFIG: &str = r#"
orgs:
  - {id: acme, daily_calls: 100000, workspaces: [{id: eu}, {id: us}]}
  - {id: beta, daily_calls: 100000, workspaces: [{id: eu}, {id: us}]}
auth:
  certificates: true
  rules:
    - {who: ["spiffe://prod/ns/inbox/**"], orgs: [acme], workspaces: [eu], may: [acquire]}
    - {who: ["spiffe://prod/ns/*"], orgs: ["*"], workspaces: ["*", ""], may: [acquire, report, read, admin]}
    - {who: ["dns:poller.example.com"], orgs: [beta], workspaces: ["*", ""], may: [report, read]}
"#;

const SENDER: &str = "spiffe://prod/ns/inbox/sa/sender";

/// What somebody may do: in an org's workspace, or in the org.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Acquire(&'static str),
    Report,
    Read,
    Admin,
}

async fn try_to(client: &Client, verb: Verb, org: &str) -> Result<(), Status> {
    let org = org.to_owned();
    match verb {
        Verb::Acquire(workspace) => {
            let (workspace, operation) = (workspace.into(), "rest".into());
            let ask = v1::AcquireRequest { org, workspace, operation, ..Default::default() };
            client.acquire(ask).await.map(drop)
        }
        Verb::Report => {
            let report = v1::ReportRequest { org, http_status: 200, ..Default::default() };
            client.report(report).await.map(drop)
        }
        Verb::Read => client.get_usage(v1::GetUsageRequest { org }).await.map(drop),
        Verb::Admin => {
            let workspace = Some(admin::Workspace { id: "eu".into(), ..Default::default() });
            let put = admin::PutWorkspaceRequest {
                org,
                workspace,
                validate_only: true,
                ..Default::default()
            };
            client.put_workspace(put).await.map(drop)
        }
    }
}

/// Everything that can be tried, in both orgs.
const VERBS: [Verb; 5] =
    [Verb::Acquire("eu"), Verb::Acquire("us"), Verb::Report, Verb::Read, Verb::Admin];

/// What those of a certificate may do, by a model that knows no patterns.
#[derive(Clone, Copy, Debug)]
enum Who {
    Sender,
    Operator,
    Poller,
    /// They are somebody, and may nothing.
    Other,
    /// Their certificate says nothing that counts.
    Nobody,
}

impl Who {
    fn expected(self, verb: Verb, org: &str) -> Code {
        let may = match self {
            Self::Sender => org == "acme" && verb == Verb::Acquire("eu"),
            Self::Operator => true,
            Self::Poller => org == "beta" && matches!(verb, Verb::Report | Verb::Read),
            Self::Other => false,
            Self::Nobody => return Code::Unauthenticated,
        };
        if may { Code::Ok } else { Code::PermissionDenied }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_lets_its_principal_do_what_rules_allow_and_nothing_else() {
    let ours = Authority::new("ours");
    let files = Files::new(&ours.issue(&["localhost"], Valid::Now), &ours.pem());
    let tls = Some(files.server(ClientAuth::Optional));
    let connections = Connections { tls, ..Connections::default() };
    let config = Config::parse(CONFIG).expect("a good configuration");
    let service = Service::start(Options { connections, ..Options::in_memory(config) });
    let service = service.await.expect("it starts");
    let rows: [(&[&str], Who); 11] = [
        (&[SENDER], Who::Sender),
        // A SPIFFE ID is who somebody is, whatever else they are called.
        (&[SENDER, "poller.example.com"], Who::Sender),
        (&["spiffe://prod/ns/ops"], Who::Operator),
        // One star is one part of a path.
        (&["spiffe://prod/ns/ops/a"], Who::Other),
        (&["spiffe://test/ns/inbox/sa/sender"], Who::Other),
        (&["spiffe://prod/ns/inbox"], Who::Operator),
        (&["poller.example.com"], Who::Poller),
        // Of several hosts the first is who it is.
        (&["poller.example.com", "other.example.com"], Who::Poller),
        (&["other.example.com", "poller.example.com"], Who::Other),
        (&["*.example.com"], Who::Nobody),
        (&["spiffe://prod/../ops", "poller.example.com"], Who::Nobody),
    ];
    for (names, who) in rows {
        let shown = Files::new(&ours.issue(names, Valid::Now), &ours.pem());
        check(&service, shown.client(), who, &format!("{names:?}")).await;
    }
    let bare = ClientFiles { ca: Some(files.path("ca.pem")), ..ClientFiles::default() };
    check(&service, bare, Who::Nobody, "no certificate").await;
    service.stop().await;
}

async fn check(service: &Service, files: ClientFiles, who: Who, what: &str) {
    let client = client(service.grpc_addr(), files);
    for (verb, org) in VERBS.iter().flat_map(|verb| ["acme", "beta"].map(|org| (*verb, org))) {
        let heard = try_to(&client, verb, org).await;
        let code = heard.as_ref().map_or_else(Status::code, |()| Code::Ok);
        assert_eq!(code, who.expected(verb, org), "{what}: {verb:?} {org}: {heard:?}");
    }
}
