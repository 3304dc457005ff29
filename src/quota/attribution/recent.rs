//! What happened within the present tick, put together by who asked, and what for:
//! most requests are like one of the last, so the tables are told of all that are
//! alike at once. To tell them of each took 5,900 instructions for a grant.

use super::{
    Asker, Origin,
    mark::{Mark, Marked},
};
use crate::quota::{Mono, RefusedFor, UserId, tight};

/// As many sorts of requests are told apart until the tables are told.
const MAX_SORTS: usize = 64;

/// What the tables have not been told yet.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    /// The second that it is counted at.
    pub at: u64,
    /// When the tick began, and when it ends.
    pub begins: Mono,
    pub ends: Mono,
    sorts: Vec<Sort>,
    /// The sort that was met last.
    last: usize,
}

/// Requests that differ in nothing that is told apart.
#[derive(Clone, Debug)]
pub struct Sort {
    mark: Mark,
    of_user: Mark,
    pub origin: Origin,
    pub user: Option<UserId>,
    pub figures: Figures,
}

/// What became of requests of a sort: calls, where it does not say otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub asked: u64,
    pub granted: u64,
    /// By [`RefusedFor`].
    pub refused: [u64; 5],
    /// Requests that were refused.
    pub refusals: u64,
}

impl Recent {
    /// The place of the sort of a request, if it was met. Who asks has no user yet
    /// where one of the pool is chosen: then any sort does that differs in nothing
    /// else.
    pub fn find(&mut self, by: Asker<'_>, user: Option<&Option<UserId>>) -> Option<usize> {
        let is_it =
            |sort: &Sort| by == sort.origin.asker() && user.is_none_or(|user| *user == sort.user);
        if self.sorts.get(self.last).is_some_and(is_it) {
            return Some(self.last);
        }
        let (mark, of_user) = (by.mark(), user.map(Marked::mark));
        let is_like = |sort: &Sort| {
            sort.mark == mark && of_user.is_none_or(|of_user| sort.of_user == of_user)
        };
        self.last = self.sorts.iter().position(|sort| is_like(sort) && is_it(sort))?;
        Some(self.last)
    }

    /// The sort in a place that was just found.
    pub fn sort_mut(&mut self, place: usize) -> &mut Sort {
        &mut self.sorts[place]
    }

    /// Takes in another sort; there must be room. Returns its place.
    pub fn insert(&mut self, by: Asker<'_>, user: Option<UserId>) -> usize {
        let (mark, of_user, origin) = (by.mark(), user.mark(), Origin::of(by));
        self.last = self.sorts.len();
        let sort = Sort { mark, of_user, origin, user, figures: Figures::default() };
        tight::push(&mut self.sorts, sort);
        self.last
    }

    pub fn is_full(&self) -> bool {
        self.sorts.len() >= MAX_SORTS
    }

    /// Tells what has happened and forgets it. The sorts stay, for those like them
    /// that come next; those of which nothing has come are forgotten.
    pub fn tell(&mut self, mut tell: impl FnMut(u64, &Sort)) {
        let at = self.at;
        self.sorts.retain_mut(|sort| {
            let is_used = sort.figures != Figures::default();
            if is_used {
                tell(at, sort);
                sort.figures = Figures::default();
            }
            is_used
        });
        self.last = 0;
        if self.sorts.is_empty() {
            self.forget();
        }
    }

    /// Forgets all sorts.
    pub fn forget(&mut self) {
        self.sorts = Vec::new();
    }
}

impl Figures {
    /// Calls that were refused for any reason.
    pub fn refused_calls(&self) -> u64 {
        self.refused.iter().sum()
    }

    pub fn refuse(&mut self, calls: u64, why: RefusedFor) {
        self.refused[why as usize] += calls;
        self.refusals += 1;
    }
}
