//! Who asks, and who answers: users with passwords, and TLS.

use std::{fs, time::Duration};

use etcd_client::{Client, Permission, PermissionType};
use quotagate::store::{
    EtcdOptions, EtcdStore, Sessions as _, Store as _, StoreAddress, StoreError, StoreOptions, open,
};

use crate::{
    etcd::{Certificates, Etcd, Which},
    words::{next, put, put_at_last, puts, watch},
};

const PASSWORD: &str = "correct horse";

/// Only a user may do anything, and that only under `/test/`.
async fn protect(etcd: &Etcd) {
    let mut client = Client::connect(etcd.endpoints(), None).await.expect("it works");
    client.role_add("root").await.expect("it is new");
    client.user_add("root", "root", None).await.expect("it is new");
    client.user_grant_role("root", "root").await.expect("both are there");
    client.role_add("tester").await.expect("it is new");
    let all = Permission::new(PermissionType::Readwrite, "/test/").with_prefix();
    client.role_grant_permission("tester", all).await.expect("it is there");
    client.user_add("me", PASSWORD, None).await.expect("it is new");
    client.user_grant_role("me", "tester").await.expect("both are there");
    client.auth_enable().await.expect("there is a root");
}

fn store(etcd: &Etcd, prefix: &str, password: &str) -> EtcdStore {
    EtcdStore::new(EtcdOptions {
        members: etcd.endpoints(),
        prefix: prefix.into(),
        user: Some(("me".into(), password.into())),
        ..EtcdOptions::default()
    })
    .expect("good members")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_let_in_by_the_password_and_only_where_it_may() {
    for which in [Which::Current, Which::Packaged] {
        let Some(etcd) = Etcd::start(1, which) else { continue };
        protect(&etcd).await;
        put(&store(&etcd, "/test/", PASSWORD), "a", "1").await.expect("it is let in");
        let elsewhere = put(&store(&etcd, "/other/", PASSWORD), "a", "1").await;
        let stranger = put(&store(&etcd, "/test/", "wrong"), "a", "1").await;
        let nobody = put(&crate::words::store(etcd.endpoints()), "a", "1").await;
        for refused in [elsewhere, stranger, nobody] {
            let Err(StoreError::NotExecuted(reason)) = refused else { panic!("{refused:?}") };
            assert!(!reason.contains(PASSWORD) && !reason.contains("wrong"), "{reason}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_etcd_has_forgotten_is_renewed_unseen() {
    for which in [Which::Current, Which::Packaged] {
        let Some(mut etcd) = Etcd::start(1, which) else { continue };
        protect(&etcd).await;
        let store = store(&etcd, "/test/", PASSWORD);
        let mut watch = watch(&store).await;
        let lease = store.grant(Duration::from_secs(600)).await.expect("it is let in");
        // The member keeps its tokens in memory.
        etcd.kill9(0);
        etcd.restart(0);
        put_at_last(&store, "a", "1").await;
        for n in 2..10 {
            put(&store, "a", &n.to_string()).await.expect("it is let in");
        }
        assert!(!store.keep_alive(lease).await.expect("it is let in").is_zero());
        assert_eq!(store.list("").await.expect("it is let in").entries.len(), 1);
        let mut told = Vec::new();
        while told.last().is_none_or(|last| last != "a=9") {
            told.extend(puts(&next(&mut watch).await));
        }
    }
}

#[test]
fn a_password_is_never_shown() {
    let options = EtcdOptions {
        user: Some(("me".into(), PASSWORD.into())),
        members: vec!["h:1".into()],
        ..EtcdOptions::default()
    };
    let shown = format!("{options:?} {:?}", EtcdStore::new(options.clone()).expect("good"));
    assert!(!shown.contains(PASSWORD), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_spoken_where_each_trusts_the_other_s_certificate() {
    for which in [Which::Current, Which::Packaged] {
        let Some(etcd) = Etcd::start_tls(1, which) else { continue };
        let address: StoreAddress =
            etcd.store_address("x").replace("etcd:", "etcds:").parse().expect("an address");
        let Certificates { ca, cert, key, .. } = etcd.certificates();
        let none = StoreOptions::default();
        let nameless = StoreOptions { ca: Some(ca.clone()), ..none.clone() };
        let trusted =
            StoreOptions { cert: Some(cert.clone()), key: Some(key.clone()), ..nameless.clone() };
        let listing = open(&address, &trusted).expect("it opens").store.list("").await;
        assert_eq!(listing.expect("each trusts the other").entries, []);
        for (options, why) in [(none, "we do not trust it"), (nameless, "it does not trust us")] {
            let refused = open(&address, &options).expect("it opens").store.list("").await;
            assert!(matches!(refused, Err(StoreError::NotExecuted(_))), "{why}: {refused:?}");
        }
    }
}

#[test]
fn files_of_the_options_that_are_not_there_are_named() {
    let address: StoreAddress = "etcds://h:1".parse().expect("an address");
    let home = tempfile::tempdir().expect("a place for temporary files");
    let missing = home.path().join("missing.pem");
    let there = home.path().join("there");
    fs::write(&there, "x").expect("it is writable");
    for (option, options) in [
        ("--store-ca", StoreOptions { ca: Some(missing.clone()), ..StoreOptions::default() }),
        (
            "--store-key",
            StoreOptions {
                cert: Some(there.clone()),
                key: Some(missing.clone()),
                ..StoreOptions::default()
            },
        ),
        (
            "--store-password-file",
            StoreOptions {
                user: Some("me".into()),
                password_file: Some(missing.clone()),
                ..StoreOptions::default()
            },
        ),
    ] {
        let error = open(&address, &options).expect_err("it is missing").to_string();
        assert!(error.contains(option) && error.contains("missing.pem"), "{error}");
    }
}
