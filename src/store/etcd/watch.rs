//! A watch that goes on.
//!
//! etcd sends each transaction's changes in one message as long as nobody asks
//! for fragments, which nobody does here.

use std::{sync::Arc, time::Duration};

use etcd_client::{Client, Error as EtcdError, WatchOptions, WatchResponse, WatchStream};
use tokio::{sync::mpsc, time::sleep};

use super::{Shared, end_of, fault::Fault, member::Member, signed, unsigned};
use crate::store::{StoreError, Watched};

/// A pause before something is tried again that has just failed.
const PAUSE: Duration = Duration::from_millis(500);

/// How far a watch has come.
struct Position {
    /// The cluster that was listed.
    cluster: u64,
    /// Everything until this revision was told.
    revision: u64,
}

/// Why a watch of one connection ended.
enum End {
    /// The connection, or the member: others can go on where it was.
    Lost,
    /// No member serves it at the moment.
    Unserved,
    /// What comes next is not known to etcd any more, or it is another etcd.
    Missed(String),
    /// Nobody listens.
    Unheard,
}

/// Tells what stands under a prefix, and all changes from there on, until nobody
/// listens any more.
pub(super) async fn follow(shared: Arc<Shared>, prefix: String, tell: mpsc::Sender<Watched>) {
    let follow = async {
        while let Ok(mut position) = begin(&shared, &prefix, &tell).await {
            loop {
                match go_on(&shared, &prefix, &mut position, &tell).await {
                    End::Lost => {}
                    End::Unserved => sleep(PAUSE).await,
                    End::Unheard => return,
                    End::Missed(why) => {
                        tracing::warn!(prefix, why, "a watch of etcd begins anew");
                        sleep(PAUSE).await;
                        break;
                    }
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = tell.closed() => {}
        () = follow => {}
    }
}

/// Lists, however long that takes.
async fn begin(
    shared: &Shared,
    prefix: &str,
    tell: &mpsc::Sender<Watched>,
) -> Result<Position, mpsc::error::SendError<Watched>> {
    loop {
        match shared.list(prefix).await {
            Ok((cluster, listing)) => {
                let position = Position { cluster, revision: listing.revision };
                tell.send(Watched::All(listing)).await?;
                return Ok(position);
            }
            // What stands now is what was asked for.
            Err(StoreError::WentBack { .. }) => {}
            Err(error) => {
                tracing::debug!(prefix, %error, "a watch of etcd waits");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Tells what changes from a position on, for as long as one member serves it.
async fn go_on(
    shared: &Shared,
    prefix: &str,
    position: &mut Position,
    tell: &mpsc::Sender<Watched>,
) -> End {
    let (member, mut stream) = match open(shared, prefix, position).await {
        Ok(opened) => opened,
        Err(end) => return end,
    };
    loop {
        let message = tokio::select! {
            biased;
            // A member that is not well may not even notice that it is silent.
            () = member.failure() => return End::Lost,
            message = stream.message() => message,
        };
        let response = match message {
            Ok(Some(response)) => response,
            Ok(None) => {
                shared.members.has_failed(&member, "it has ended a watch");
                return End::Lost;
            }
            Err(error) => {
                shared.members.has_failed(&member, Fault::of(&error).reason());
                return End::Lost;
            }
        };
        if let Some(end) = ended(&response) {
            return end;
        }
        let changes: Vec<_> =
            response.events().iter().filter_map(|event| shared.changed(event)).collect();
        let last = response.events().iter().filter_map(|event| event.kv()).next_back();
        match last {
            // The header may be ahead of the changes.
            Some(last) => position.revision = unsigned(last.mod_revision()),
            // A quiet watch is told how far etcd is.
            None => {
                let told = response.header().map_or(0, |header| unsigned(header.revision()));
                position.revision = position.revision.max(told);
            }
        }
        if !changes.is_empty() && tell.send(Watched::Changes(changes)).await.is_err() {
            return End::Unheard;
        }
    }
}

async fn open(
    shared: &Shared,
    prefix: &str,
    position: &Position,
) -> Result<(Arc<Member>, WatchStream), End> {
    let from = shared.key(prefix);
    let options = WatchOptions::new()
        .with_range(end_of(&from))
        .with_start_revision(signed(position.revision + 1))
        .with_progress_notify();
    let opened = shared.members.ask_one_of(|client: Client| {
        let (from, options) = (from.clone(), options.clone());
        async move {
            let mut watch = client.watch_client().max_decoding_message_size(usize::MAX);
            let mut stream = watch.watch(from, Some(options)).await?;
            match stream.message().await? {
                Some(first) => Ok((stream, first)),
                None => Err(EtcdError::WatchError("it ended at once".to_owned())),
            }
        }
    });
    let (member, (stream, first)) = opened.await.map_err(|fault| {
        tracing::debug!(prefix, reason = fault.reason(), "a watch of etcd waits");
        End::Unserved
    })?;
    if let Some(end) = ended(&first) {
        return Err(end);
    }
    let header = first.header().map(|header| (header.cluster_id(), unsigned(header.revision())));
    match header {
        Some((cluster, revision))
            if cluster == position.cluster && revision >= position.revision =>
        {
            Ok((member, stream))
        }
        // It would be silent until it reaches the position, with other changes.
        _ => Err(End::Missed("the member does not know what was told already".to_owned())),
    }
}

/// Has etcd ended this watch?
fn ended(response: &WatchResponse) -> Option<End> {
    response.canceled().then(|| {
        let compacted = response.compact_revision();
        End::Missed(match response.cancel_reason() {
            "" => format!("changes before revision {compacted} are not kept any more"),
            reason => reason.to_owned(),
        })
    })
}
