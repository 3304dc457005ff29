//! WatchUsage follows its org: when that moves, the stream goes on from the new
//! owner, with a snapshot.

use std::sync::Arc;

use tokio::{sync::mpsc, time::Instant};
use tonic::{Code, Status};

use super::{
    convert::quota as wire,
    forward::{Context, Forward},
    layers::Deadline,
    operation::{Source, Watch},
    rights,
};
use crate::{
    auth::Caller,
    cluster::peers::{self, PeerError},
    proto::v1,
};

/// Where the events of a watch go.
pub type Events = mpsc::Sender<Result<v1::WatchUsageResponse, Status>>;

/// Messages that wait for a slow watcher; further changes wait at the owner,
/// which folds them into one.
pub const BUFFER: usize = 2;

/// Passes events on until the watcher goes away, the service stops, or the org
/// cannot be watched any more. `source` has the first ones.
pub async fn follow(
    forward: Arc<Forward>,
    watch: Watch,
    context: Context,
    mut source: Source,
    events: Events,
) {
    let mut stopping = forward.stopping();
    let follow = async {
        loop {
            match pass_on(source, &context.caller, &events).await {
                End::Moved if forward.node().is_stopping() => return,
                End::Moved => {}
                End::Gone => return,
                End::Failed(status) => {
                    let _ = events.send(Err(status)).await;
                    return;
                }
            }
            source = loop {
                // Each search has its own time, and there is always another one.
                let deadline = Deadline::new(Instant::now() + SEARCH);
                match forward.decide(&watch, &Context { deadline, ..context.clone() }).await {
                    Ok(found) => break found.into_inner(),
                    Err(status) if status.code() == Code::Unavailable => {}
                    Err(status) => {
                        let _ = events.send(Err(status)).await;
                        return;
                    }
                }
            };
        }
    };
    // Rights are those of the moment at which it began: in a while they are asked
    // for anew, with the watch.
    let known = context.caller.principal().is_some();
    let renewed = tokio::time::sleep(if known { RENEWED_AFTER } else { std::time::Duration::MAX });
    tokio::select! {
        biased;
        _ = stopping.wait_for(|stopping| *stopping) => {}
        () = events.closed() => {}
        () = renewed => {}
        () = follow => {}
    }
}

/// A watch of somebody who is known by name ends after this, and they begin another
/// one: whoever has lost a right, or a token, does not look on for ever.
const RENEWED_AFTER: std::time::Duration = std::time::Duration::from_secs(15 * 60);

/// How long the owner may take for its first word.
const SEARCH: std::time::Duration = std::time::Duration::from_secs(3);

/// How a source ends.
enum End {
    /// The org is decided elsewhere now, or the way to it is broken.
    Moved,
    /// The watcher has gone.
    Gone,
    /// The owner says so.
    Failed(Status),
}

/// Passes on what its watcher may see of the events of one source.
async fn pass_on(source: Source, caller: &Caller, events: &Events) -> End {
    match source {
        Source::Here(mut watch) => {
            while let Some(event) = watch.next().await {
                let mut event = wire::usage_event(event);
                if rights::cut_event(caller, &mut event) && events.send(Ok(event)).await.is_err() {
                    return End::Gone;
                }
            }
            End::Moved
        }
        Source::Peer(mut stream) => loop {
            match peers::next(&mut stream).await {
                Ok(Some(message)) => {
                    // An event of a version that this one does not know.
                    let Some(mut event) = message.response else { continue };
                    if rights::cut_event(caller, &mut event)
                        && events.send(Ok(event)).await.is_err()
                    {
                        return End::Gone;
                    }
                }
                Err(PeerError::Status(status)) => return End::Failed(status),
                Ok(None) | Err(_) => return End::Moved,
            }
        },
    }
}
