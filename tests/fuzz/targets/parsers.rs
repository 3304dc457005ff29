//! Readers that are functions. What they have read, they must be able to read again.

use std::{str::FromStr as _, sync::LazyLock};

use prost::{Message, Name};
use quotagate::{
    auth::{
        jwt::{self, Expected},
        keys::KeySet,
        rules::Pattern,
        token,
    },
    client::Answer,
    config::{Config, OrgDeclaration},
    duration, json,
    proto::{admin::v1 as admin, v1},
    quota::{
        LimitName, OperationId, OrgId, RequestId, UserId, Wall, WorkspaceId, caller_name,
        salesforce::{ApiUsage, LimitInfo, errors::Trouble, limits, requests::ApiCall},
    },
    rpc::convert::{self, quota::Asker},
    shard::permit_id::PermitId,
    store::{
        Key,
        records::{
            ClosedRecord, GenerationRecord, MetaRecord, NodeRecord, OrgConfigRecord, OwnerRecord,
            Record,
        },
    },
    tls::CertificateNames,
};
use tokio_rustls::rustls::pki_types::CertificateDer;

/// The bytes as a text, where they are one.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// The first byte chooses, the rest is read.
fn choice(bytes: &[u8]) -> Option<(usize, &[u8])> {
    bytes.split_first().map(|(first, rest)| (usize::from(*first), rest))
}

/// `Sforce-Limit-Info`.
pub fn limit_info(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Some(ApiUsage { .. }) = LimitInfo::parse(text).api_usage {
        assert!(text.contains('/'), "a figure needs both numbers");
    }
}

/// `LimitInfoHeader` of SOAP.
pub fn soap_limit_info(bytes: &[u8]) {
    let _ = text(bytes).map(LimitInfo::parse_soap);
}

/// The limits resource.
pub fn limits_resource(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    for (name, _) in limits::limits(text) {
        assert!(text.contains(name), "a name is one of the text's");
    }
    let _ = ApiUsage::of_limits(text);
}

/// The body of an error, or its code and its message: the first line and the rest.
pub fn error_body(bytes: &[u8]) {
    for status in [400, 429, 503] {
        let _ = Answer::new(status).body(bytes);
    }
    let Some(text) = text(bytes) else { return };
    let (code, message) = text.split_once('\n').unwrap_or_default();
    for status in [0, 200, 400, 403, 429, 500, 503] {
        for (code, message) in [("", text), (text, ""), (code, message)] {
            let trouble = Trouble::of(status, code, message, None);
            assert!(status != 200 || trouble.is_none(), "an answer that is good is none");
        }
    }
}

/// `Retry-After` and `Date`.
pub fn answer_headers(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let (date, retry_after) = text.split_once('\n').unwrap_or((text, text));
    let _ = Answer::new(429).date(date).retry_after(retry_after).limit_info(text);
}

/// The configuration file, and a declaration as the store keeps it.
pub fn config(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Err(faults) = Config::parse(text) {
        assert!(!faults.is_empty(), "a file that is refused has a fault");
    }
    if let Ok(declaration) = OrgDeclaration::from_yaml(text) {
        let written = declaration.to_yaml();
        assert_eq!(OrgDeclaration::from_yaml(&written), Ok(declaration), "{written}");
    }
}

/// A length of time as people write it.
pub fn duration(bytes: &[u8]) {
    let Some(Ok(length)) = text(bytes).map(duration::parse) else { return };
    let written = duration::format(length);
    assert_eq!(duration::parse(&written), Ok(length), "{written}");
}

/// A pattern of a rule, and a name below it.
pub fn rule_pattern(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let (pattern, name) = text.split_once('\n').unwrap_or((text, text));
    let fits = Pattern::new(pattern).fits(name);
    if !pattern.contains('*') {
        assert_eq!(fits, pattern == name, "a pattern without a star is one name");
    }
}

/// A bearer's token: what a JWT says of itself, and whether a good key has signed
/// it, which none of these has.
pub fn jwt(bytes: &[u8]) {
    static KEYS: LazyLock<KeySet> =
        LazyLock::new(|| KeySet::parse(KEYS_OF_OTHERS).expect("good keys"));
    let Some(token) = text(bytes) else { return };
    let _ = (jwt::is_jwt(token), token::hash(token));
    let Ok(head) = jwt::parse(token) else { return };
    let Ok(key) = KEYS.find(&head) else { return };
    let audiences = ["quotagate".to_owned()];
    let expected = Expected { issuer: &head.issuer, audiences: &audiences, claim: "sub" };
    let proved = jwt::verify(token, head.algorithm, key, expected, Wall(1_700_000_000_000_000));
    assert!(proved.is_err(), "nobody here has the private keys");
}

/// The keys of an issuer.
pub fn jwks(bytes: &[u8]) {
    if let Ok(keys) = KeySet::parse(bytes) {
        assert!(keys.len() <= 64, "{} keys are too many", keys.len());
    }
}

/// The names in a client's certificate.
pub fn certificate(bytes: &[u8]) {
    for principal in CertificateNames::of(&CertificateDer::from(bytes)).principals() {
        let known = principal.starts_with("spiffe://") || principal.starts_with("dns:");
        assert!(known && !principal.contains('*'), "{principal:?} is nobody in particular");
    }
}

/// The public keys of RFC 7515 (A.2, A.3) and RFC 8037 (A.2).
const KEYS_OF_OTHERS: &[u8] = br#"{"keys": [
    {"kty": "EC", "kid": "ec", "crv": "P-256",
     "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
     "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"},
    {"kty": "OKP", "kid": "ed", "crv": "Ed25519",
     "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"},
    {"kty": "RSA", "kid": "rsa", "e": "AQAB",
     "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}
]}"#;

/// Every kind of name.
pub fn names(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    macro_rules! check {
        ($($kind:ident),*) => {$(
            if let Ok(name) = $kind::parse(text) {
                assert_eq!($kind::parse(name.as_str()).as_ref(), Ok(&name), "it stays the same");
            }
        )*};
    }
    check!(OrgId, UserId, WorkspaceId, OperationId, LimitName, RequestId);
    let _ = caller_name(text);
}

/// A permit's name: each has exactly one text.
pub fn permit_id(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(id) = PermitId::from_str(text) {
        assert_eq!(id.to_string(), text);
    }
}

/// Method and target of a request to Salesforce.
pub fn api_call(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    let (method, target) = text.split_once(' ').unwrap_or(("GET", text));
    if let Some(call) = ApiCall::of(method, target) {
        assert!(call.most_units > 0, "a call takes something");
    }
}

/// The body of a request to the JSON API. The first byte says which.
pub fn json_body(bytes: &[u8]) {
    fn read<M: Name + Default + PartialEq + std::fmt::Debug>(body: &[u8]) {
        let Ok(message) = json::from_slice::<M>(body) else { return };
        let written = json::to_line(&message);
        let again = json::from_slice::<M>(written.as_bytes());
        assert_eq!(again.ok().as_ref(), Some(&message), "{written}");
    }
    let readers = [
        read::<v1::AcquireRequest>,
        read::<v1::ReportRequest>,
        read::<v1::ReleaseRequest>,
        read::<admin::Org>,
        read::<admin::Workspace>,
        read::<admin::PutOrgRequest>,
        read::<admin::PutWorkspaceRequest>,
    ];
    let Some((which, body)) = choice(bytes) else { return };
    readers[which % readers.len()](body);
}

/// A message of gRPC, and every check of it. The first byte says which.
pub fn grpc_message(bytes: &[u8]) {
    fn checked<M: Message + Default>(body: &[u8], check: impl Fn(M)) {
        if let Ok(message) = M::decode(body) {
            check(message);
        }
    }
    let Some((which, body)) = choice(bytes) else { return };
    match which % 12 {
        0 => checked(body, |message: v1::AcquireRequest| {
            let asker = Asker::Declared(&message.request_id);
            if let Ok((org, ask)) = convert::quota::ask(&message, &asker) {
                assert!(OrgId::parse(org.as_str()).is_ok() && ask.calls > 0);
            }
        }),
        1 => checked(body, |message: v1::ReportRequest| {
            let _ = convert::quota::report(&message);
            let _ = convert::quota::error_text(&message);
        }),
        2 => checked(body, |message: v1::ReleaseRequest| {
            let _ = convert::quota::release(&message);
        }),
        3 => checked(body, |message: v1::GetDemandRequest| {
            let _ = convert::quota::demand_filter(&message);
        }),
        4 => checked(body, |message: admin::ListOrgsRequest| {
            let _ = convert::admin::page(&message);
        }),
        5 => checked(body, |message| drop(convert::admin::put_org(message))),
        6 => checked(body, |message| drop(convert::admin::delete_org(message))),
        7 => checked(body, |message| drop(convert::admin::put_workspace(message))),
        8 => checked(body, |message| drop(convert::admin::delete_workspace(message))),
        9 => checked(body, |message| drop(convert::admin::put_execution_user(message))),
        10 => checked(body, |message| drop(convert::admin::delete_execution_user(message))),
        _ => checked(body, |message: v1::GetUsageRequest| drop(convert::org(&message.org))),
    }
}

/// A value of the store. The first byte says of which key.
pub fn store_record(bytes: &[u8]) {
    fn read<R: Record + PartialEq + std::fmt::Debug>(value: &[u8]) {
        let Ok(record) = R::decode(value) else { return };
        assert_eq!(R::decode(&record.encode()), Ok(record));
    }
    let readers = [
        read::<quotagate::quota::GroupRecord>,
        read::<OwnerRecord>,
        read::<NodeRecord>,
        read::<GenerationRecord>,
        read::<ClosedRecord>,
        read::<OrgConfigRecord>,
        read::<MetaRecord>,
    ];
    let Some((which, value)) = choice(bytes) else { return };
    readers[which % readers.len()](value);
}

/// A key of the store: each has exactly one text.
pub fn store_key(bytes: &[u8]) {
    let Some(text) = text(bytes) else { return };
    if let Ok(key) = Key::from_str(text) {
        assert_eq!(key.to_string(), text);
    }
}
