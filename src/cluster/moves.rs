//! Which shards have changed hands of late, as this node saw it in its view: for
//! people who watch a cluster.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use tokio::sync::watch;

use super::{OwnerInfo, View};
use crate::{clock::Clock, quota::Wall, store::Shard};

/// So many moves are kept: all shards twice.
const KEPT: usize = 512;

/// A shard that another node has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// When this node heard of it.
    pub at: Wall,
    /// The shard.
    pub shard: Shard,
    /// Its last owner that was known; empty where none was.
    pub from: String,
    /// Its owner since: it may be the same, in a later session.
    pub to: String,
    /// The fencing number of the new ownership.
    pub epoch: u64,
}

/// The last moves, newest first.
pub type Moves = VecDeque<Move>;

/// Follows the view for as long as there is one, and publishes what has moved.
pub async fn run(
    clock: Clock,
    mut view: watch::Receiver<Arc<View>>,
    moves: watch::Sender<Arc<Moves>>,
) {
    let mut seen = Seen::default();
    loop {
        let now = Arc::clone(&view.borrow_and_update());
        let moved = seen.moved(&now, clock.wall());
        if !moved.is_empty() {
            moves.send_modify(|moves| {
                let moves = Arc::make_mut(moves);
                moved.into_iter().for_each(|moved| moves.push_front(moved));
                moves.truncate(KEPT);
            });
        }
        if view.changed().await.is_err() {
            return;
        }
    }
}

/// The last owner of each shard, also while it has none.
#[derive(Debug, Default)]
struct Seen(BTreeMap<Shard, OwnerInfo>);

impl Seen {
    /// What has moved since the last view. What stands in the first is no move.
    fn moved(&mut self, view: &View, at: Wall) -> Vec<Move> {
        let is_first = self.0.is_empty();
        let mut moved = Vec::new();
        for (shard, owner) in &view.owners {
            let before = self.0.insert(*shard, owner.clone());
            if is_first || before.as_ref().is_some_and(|before| before.epoch == owner.epoch) {
                continue;
            }
            moved.push(Move {
                at,
                shard: *shard,
                from: before.map_or_else(String::new, |before| before.node),
                to: owner.node.clone(),
                epoch: owner.epoch,
            });
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(owners: &[(u16, &str, u64)]) -> View {
        let mut view = View::default();
        for (shard, node, epoch) in owners {
            let incarnation = "1".to_owned();
            let owner = OwnerInfo { node: (*node).to_owned(), incarnation, epoch: *epoch };
            view.owners.insert(Shard::new(*shard).expect("a shard"), owner);
        }
        view
    }

    fn moved(seen: &mut Seen, owners: &[(u16, &str, u64)]) -> Vec<(u16, String, String)> {
        let moved = seen.moved(&view(owners), Wall(7));
        moved.into_iter().map(|moved| (moved.shard.number(), moved.from, moved.to)).collect()
    }

    #[test]
    fn a_move_is_told_when_the_new_owner_has_come() {
        let mut seen = Seen::default();
        let of = |shard, from: &str, to: &str| (shard, from.to_owned(), to.to_owned());
        assert_eq!(moved(&mut seen, &[(0, "a", 3), (1, "a", 3)]), []);
        // Given away, and taken.
        assert_eq!(moved(&mut seen, &[(0, "a", 3)]), []);
        assert_eq!(moved(&mut seen, &[(0, "a", 3), (1, "b", 9)]), [of(1, "a", "b")]);
        // Taken anew by a later session; and one that nobody has had.
        let later = moved(&mut seen, &[(0, "a", 11), (1, "b", 9), (2, "c", 12)]);
        assert_eq!(later, [of(0, "a", "a"), of(2, "", "c")]);
        assert_eq!(moved(&mut seen, &[(0, "a", 11), (1, "b", 9), (2, "c", 12)]), []);
    }

    #[tokio::test]
    async fn the_last_moves_are_kept_newest_first() {
        let (tell, told) = watch::channel(Arc::new(view(&[(0, "a", 1)])));
        let (publish, mut published) = watch::channel(Arc::new(Moves::new()));
        let following = tokio::spawn(run(Clock::default(), told, publish));
        // It looks once before anything moves.
        tokio::task::yield_now().await;
        for epoch in 2..600 {
            tell.send_replace(Arc::new(view(&[(0, "b", epoch)])));
            published.changed().await.expect("it goes on");
        }
        let moves = Arc::clone(&published.borrow());
        assert_eq!((moves.len(), moves[0].epoch), (KEPT, 599));
        drop(tell);
        following.await.expect("it ends with the view");
    }
}
