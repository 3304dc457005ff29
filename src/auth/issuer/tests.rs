//! The keys over time: rotation, outage, and callers who make up names of keys.

use std::{fs, path::PathBuf};

use jsonwebtoken::Algorithm;
use tempfile::TempDir;

use super::*;
use crate::{
    auth::testing::{Signer, key_set},
    config::KeySource,
    quota::Wall,
};

/// An issuer whose keys are in a file.
struct World {
    _directory: TempDir,
    path: PathBuf,
    issuer: Issuer,
}

impl World {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("keys.json");
        fs::write(&path, text).expect("written");
        let config = OidcConfig {
            name: "k8s".to_owned(),
            issuer: "https://issuer.example.com".to_owned(),
            audiences: vec!["quotagate".to_owned()],
            keys: KeySource::File(path.clone()),
            ca_file: None,
            token_file: None,
            claim: "sub".to_owned(),
        };
        let issuer = Issuer::start(config, Clock::of_runtime(Wall(1_000_000)));
        Self { _directory: directory, path, issuer }
    }

    fn write(&self, text: &str) {
        fs::write(&self.path, text).expect("written");
    }

    async fn finds(&self, kid: &str) -> Result<(), Refused> {
        let head = Head {
            algorithm: Algorithm::ES256,
            kid: Some(kid.to_owned()),
            issuer: self.issuer.config.issuer.clone(),
        };
        self.issuer.key(&head).await.map(|_| ())
    }

    fn fetches(&self) -> u64 {
        self.issuer.known.borrow().ended
    }
}

fn keys(kids: &[&str]) -> String {
    key_set(&kids.iter().map(|kid| Signer::p256().jwk(kid)).collect::<Vec<_>>())
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

const MOMENT: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn keys_that_nobody_has_make_nobody_busy() {
    let world = World::new(&keys(&["a"]));
    assert_eq!(world.finds("a").await, Ok(()));
    assert_eq!(world.fetches(), 1);
    for _ in 0..1_000 {
        assert_eq!(world.finds("made-up").await, Err(Refused::UnknownKey));
    }
    assert_eq!(world.fetches(), 1);
    // Half a minute later they cause one fetch, however many come at once.
    pass(AT_MOST_EVERY).await;
    let mut many = tokio::task::JoinSet::new();
    let world = Arc::new(world);
    for at in 0..100 {
        let world = Arc::clone(&world);
        many.spawn(async move { world.finds(&format!("made-up-{at}")).await });
    }
    while let Some(found) = many.join_next().await {
        assert_eq!(found.expect("no panic"), Err(Refused::UnknownKey));
    }
    assert_eq!(world.fetches(), 2);
    // An hour of them is no more than one each half minute.
    for _ in 0..3_600 {
        assert_eq!(world.finds("made-up").await, Err(Refused::UnknownKey));
        pass(MOMENT).await;
    }
    assert!(world.fetches() <= 2 + 121, "{}", world.fetches());
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_found_when_it_is_named_and_an_old_one_is_gone_in_five_minutes() {
    let world = World::new(&keys(&["a"]));
    assert_eq!(world.finds("a").await, Ok(()));
    let first = world.issuer.generation();
    world.write(&keys(&["b"]));
    assert_eq!(world.finds("b").await, Err(Refused::UnknownKey));
    assert_eq!(world.finds("a").await, Ok(()));
    pass(AT_MOST_EVERY).await;
    assert_eq!(world.finds("b").await, Ok(()));
    assert_eq!(world.finds("a").await, Err(Refused::UnknownKey));
    let second = world.issuer.generation();
    assert!(first.is_some() && first != second);
    pass(EVERY + MOMENT).await;
    // The same keys again are the same generation: what was proved stays so.
    assert_eq!(world.issuer.generation(), second);
    // All keys are withdrawn, and nobody asks.
    world.write(&keys(&[]));
    pass(EVERY + MOMENT).await;
    assert_eq!(world.finds("b").await, Err(Refused::UnknownKey));
}

#[tokio::test(start_paused = true)]
async fn the_last_keys_hold_for_a_day_without_the_issuer() {
    let world = World::new(&keys(&["a"]));
    assert_eq!(world.finds("a").await, Ok(()));
    for garbage in ["", "[", "{}", "{\"keys\": 7}", &"x".repeat(300_000)] {
        world.write(garbage);
        pass(EVERY + AT_MOST_EVERY).await;
        assert_eq!(world.finds("a").await, Ok(()), "{garbage:.20}");
    }
    fs::remove_file(&world.path).expect("removed");
    pass(KEPT - Duration::from_secs(3_600)).await;
    assert_eq!(world.finds("a").await, Ok(()));
    pass(Duration::from_secs(3_600)).await;
    assert_eq!(world.finds("a").await, Err(Refused::KeysUnavailable));
    assert_eq!(world.issuer.generation(), None);
    world.write(&keys(&["a"]));
    pass(AT_MOST_EVERY + MOMENT).await;
    assert_eq!(world.finds("a").await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_the_first_keys() {
    let world = World::new(&keys(&["a"]));
    // Asked before the task had a turn.
    assert_eq!(world.fetches(), 0);
    assert_eq!(world.finds("a").await, Ok(()));
    let absent = World::new("garbage");
    assert_eq!(absent.finds("a").await, Err(Refused::KeysUnavailable));
    assert_eq!(absent.fetches(), 1);
    assert_eq!(absent.finds("a").await, Err(Refused::KeysUnavailable));
    assert_eq!(absent.fetches(), 1);
}
