//! Two futures at once, without a macro.

use std::{future::poll_fn, pin::pin, task::Poll};

/// What was there first.
pub enum First<A, B> {
    /// The left one.
    Left(A),
    /// The right one.
    Right(B),
}

/// What of two futures is there first; the left one if both are. The other one is
/// dropped.
pub async fn first_of<A, B>(
    left: impl Future<Output = A>,
    right: impl Future<Output = B>,
) -> First<A, B> {
    let (mut left, mut right) = (pin!(left), pin!(right));
    poll_fn(|context| {
        if let Poll::Ready(left) = left.as_mut().poll(context) {
            return Poll::Ready(First::Left(left));
        }
        right.as_mut().poll(context).map(First::Right)
    })
    .await
}
