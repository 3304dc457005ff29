//! Lists of orgs have the orgs that somebody may read, and no more of each than they
//! may see; and what would have been is for those who may see all of an org.

use quotagate::proto::{
    admin::v1 as admin,
    v1::{self, Severity},
};
use tonic::Code;

use crate::world::{May, ORGS, WHO, ask, by, may, reason, start};

#[tokio::test]
async fn who_lists_orgs_sees_theirs_and_of_each_no_more_than_is_theirs() {
    let server = start().await;
    let mut client = server.quota.clone();
    for workspace in ["eu", "us"] {
        client.acquire(by("ops", ask("acme", workspace))).await.expect("it is decided");
    }
    for who in WHO {
        let list = client.list_usage(by(who, v1::ListUsageRequest::default())).await;
        let list = list.expect("whoever may read nothing sees nothing").into_inner();
        let names: Vec<&str> = list.orgs.iter().map(|line| line.org.as_str()).collect();
        let reads = |org: &&str| ["eu", "us"].iter().any(|id| may(who, May::Read, org, id));
        let mut theirs: Vec<&str> = ["acme", "beta"].into_iter().filter(reads).collect();
        theirs.retain(|org| names.contains(org));
        assert_eq!(names.len(), theirs.len(), "{who}: {names:?}");
        assert_eq!(list.total_size as usize, names.len(), "{who}: what is not theirs is not there");
        for line in &list.orgs {
            let sees_all = who == "ops";
            assert!(line.total.is_some(), "{who}: the total is for all of them");
            assert_eq!(line.workspaces > 0, sees_all, "{who}: {line:?}");
            assert_eq!(!line.fullest_workspace.is_empty(), sees_all, "{who}: {line:?}");
            assert_ne!(line.severity(), Severity::Unspecified, "{who}: {line:?}");
        }
    }
    let list = client.list_usage(by("viewer", v1::ListUsageRequest::default())).await;
    assert_eq!(list.expect("it is listed").into_inner().total_size, 1, "acme");
}

#[tokio::test]
async fn what_would_have_been_is_for_those_who_may_see_all_of_an_org() {
    let server = start().await;
    let mut client = server.admin.clone();
    for (who, org) in WHO.iter().flat_map(|who| ORGS.map(|org| (*who, org))) {
        let edited = admin::Org { id: org.into(), ..Default::default() };
        let request = admin::ReplayDemandRequest { org: Some(edited) };
        let answer = client.replay_demand(by(who, request)).await;
        let expected = match (who, org) {
            ("ops", "nowhere") => Code::NotFound,
            ("ops", _) => Code::Ok,
            _ => Code::PermissionDenied,
        };
        let code = answer.as_ref().err().map_or(Code::Ok, tonic::Status::code);
        assert_eq!(code, expected, "{who}: {org}");
        if code == Code::PermissionDenied {
            let reason = answer.as_ref().err().map(reason);
            assert_eq!(reason.as_deref(), Some("NOT_ALLOWED"), "{who}: {org}");
        }
    }
}
