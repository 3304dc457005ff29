//! An upgrade on a working day, and the way back: a cluster of the program as it
//! was rolls to the program as it is, node by node, and to the old one again, under
//! load. Old and new nodes forward to each other, take over each other's shards and
//! read each other's records.
//!
//! `QUOTAGATE_OLD_BIN` names the old program; `tests/tools/old.sh` builds it. Without
//! it there is nothing to upgrade from, which is said.
//!
//! Seen with the program of 413ca9b: in ten of ten runs each way held, and in two a first
//! try ended with ANSWER_LOST, from an old node that was ending. It closes its port on what
//! other nodes still ask it, and then they cannot know what was done. The present one goes
//! on answering them until they know better, reads what is on its way when it closes, and
//! takes HTTP/2's word for what another node did not begin: in 60 ends under load no
//! answer was lost, where before it was one in five.

use std::{env, path::PathBuf};

use crate::world::{Demand, NODES, World, say};

/// Requests that a node has sent to another one, which has answered.
const ANSWERED: &str = "quotagate_forwarded_total{outcome=\"answered\"}";

/// The program as it was.
fn old() -> Option<PathBuf> {
    let Some(path) = env::var_os("QUOTAGATE_OLD_BIN").map(PathBuf::from) else {
        say(
            "SKIPPED: an upgrade: QUOTAGATE_OLD_BIN names no program (tests/tools/old.sh builds it)",
        );
        return None;
    };
    assert!(path.is_file(), "QUOTAGATE_OLD_BIN: there is no {}", path.display());
    Some(path)
}

/// Every node ends in order and is started again as another program, one after the
/// other; callers go on meanwhile, and between any two.
async fn rolls_to(world: &mut World, program: Option<PathBuf>) {
    for number in 0..NODES {
        world.stop(number).await;
        world.start_again_as(number, program.clone()).await;
        world.goes_on().await;
        let forwards = world.node(number).counted(ANSWERED).await;
        assert!(forwards > 0, "it has others decide, of whichever version they are");
    }
}

/// Callers who want less than there is, and repeat UNAVAILABLE once, notice nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrade_and_back_under_load_refuses_and_loses_nothing() {
    let Some(old) = old() else { return };
    let Some(mut world) = World::start_as(Demand::Roomy, 1_000_000, Some(old.clone())).await else {
        return;
    };
    world.goes_on().await;
    rolls_to(&mut world, None).await;
    rolls_to(&mut world, Some(old)).await;
    let (seen, held) = world.finish("upgrade and back").await;
    assert_eq!((seen.denied, seen.too_late), (0, 0), "{seen:#?}");
    assert_eq!(seen.lost, [""; 0], "every request is answered");
    assert_eq!((held.open, held.lost), (0, 0), "nothing is wasted");
}

/// Callers who want more than there is never get more, whichever node decides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgrade_and_back_at_saturation_keeps_every_limit() {
    let Some(old) = old() else { return };
    let Some(mut world) = World::start_as(Demand::Saturating, 400, Some(old.clone())).await else {
        return;
    };
    world.goes_on().await;
    rolls_to(&mut world, None).await;
    rolls_to(&mut world, Some(old)).await;
    let (seen, held) = world.finish("upgrade and back at saturation").await;
    assert!(seen.denied > 0, "callers wanted more than there is: {seen:#?}");
    assert_eq!(held.open, 0, "who ends in order leaves nothing open");
}
