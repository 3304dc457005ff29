//! etcd's services, as far as a client of this project asks them.

use std::{
    collections::BTreeMap,
    future::pending,
    pin::{Pin, pin},
};

use etcd_client::proto::{
    PbCompactionRequest, PbCompactionResponse, PbDeleteRequest, PbDeleteResponse, PbKvService,
    PbLeaseGrantRequest, PbLeaseGrantResponse, PbLeaseKeepAliveRequest, PbLeaseKeepAliveResponse,
    PbLeaseLeasesRequest, PbLeaseLeasesResponse, PbLeaseRevokeRequest, PbLeaseRevokeResponse,
    PbLeaseService, PbLeaseStatus, PbLeaseTimeToLiveRequest, PbLeaseTimeToLiveResponse,
    PbPutRequest, PbPutResponse, PbRangeRequest, PbRangeResponse, PbRangeStreamResponse,
    PbResponseHeader, PbTxnRequest, PbTxnResponse, PbWatchRequest, PbWatchRequestUnion,
    PbWatchResponse, PbWatchService,
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{Member, data::Data};

/// Names the cluster in every answer.
const CLUSTER: u64 = 0xfa4e;

/// Answers of a stream that wait for the client.
const AHEAD: usize = 16;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Member {
    fn header(&self, data: &Data) -> Option<PbResponseHeader> {
        Some(PbResponseHeader {
            cluster_id: CLUSTER,
            member_id: self.id,
            revision: data.revision(),
            raft_term: 1,
        })
    }

    /// Carries something out at once; the header is of after it.
    fn answer<T>(
        &self,
        carry_out: impl FnOnce(&mut Data) -> Result<T, Status>,
        header: impl FnOnce(&mut T) -> &mut Option<PbResponseHeader>,
    ) -> Result<Response<T>, Status> {
        self.etcd.change(|data| {
            let mut answer = carry_out(data)?;
            *header(&mut answer) = self.header(data);
            Ok(Response::new(answer))
        })
    }
}

#[async_trait]
impl PbKvService for Member {
    async fn range(
        &self,
        request: Request<PbRangeRequest>,
    ) -> Result<Response<PbRangeResponse>, Status> {
        self.answer(|data| data.range(request.get_ref()), |answer| &mut answer.header)
    }

    type RangeStreamStream = Answers<PbRangeStreamResponse>;

    async fn range_stream(
        &self,
        _: Request<PbRangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        Err(Status::unimplemented("a stream of ranges"))
    }

    async fn put(&self, request: Request<PbPutRequest>) -> Result<Response<PbPutResponse>, Status> {
        self.answer(|data| data.put(request.get_ref()), |answer| &mut answer.header)
    }

    async fn delete_range(
        &self,
        request: Request<PbDeleteRequest>,
    ) -> Result<Response<PbDeleteResponse>, Status> {
        self.answer(|data| Ok(data.delete(request.get_ref())), |answer| &mut answer.header)
    }

    async fn txn(&self, request: Request<PbTxnRequest>) -> Result<Response<PbTxnResponse>, Status> {
        self.answer(|data| data.txn(request.get_ref()), |answer| &mut answer.header)
    }

    async fn compact(
        &self,
        request: Request<PbCompactionRequest>,
    ) -> Result<Response<PbCompactionResponse>, Status> {
        self.answer(
            |data| data.compact(request.get_ref().revision).map(|()| Default::default()),
            |answer: &mut PbCompactionResponse| &mut answer.header,
        )
    }
}

#[async_trait]
impl PbLeaseService for Member {
    async fn lease_grant(
        &self,
        request: Request<PbLeaseGrantRequest>,
    ) -> Result<Response<PbLeaseGrantResponse>, Status> {
        let PbLeaseGrantRequest { id, ttl } = *request.get_ref();
        // Leases live for some elections at least.
        let ttl = ttl.max(2);
        self.answer(
            |data| {
                let id = data.grant(id, ttl)?;
                Ok(PbLeaseGrantResponse { id, ttl, ..PbLeaseGrantResponse::default() })
            },
            |answer| &mut answer.header,
        )
    }

    async fn lease_revoke(
        &self,
        request: Request<PbLeaseRevokeRequest>,
    ) -> Result<Response<PbLeaseRevokeResponse>, Status> {
        self.answer(
            |data| data.revoke(request.get_ref().id).map(|()| Default::default()),
            |answer: &mut PbLeaseRevokeResponse| &mut answer.header,
        )
    }

    type LeaseKeepAliveStream = Answers<PbLeaseKeepAliveResponse>;

    async fn lease_keep_alive(
        &self,
        requests: Request<Streaming<PbLeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let member = self.clone();
        let answers = requests.into_inner().map(move |request| {
            let id = request?.id;
            let mut data = member.etcd.data();
            let ttl = data.keep_alive(id);
            Ok(PbLeaseKeepAliveResponse { header: member.header(&data), id, ttl })
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<PbLeaseTimeToLiveRequest>,
    ) -> Result<Response<PbLeaseTimeToLiveResponse>, Status> {
        let PbLeaseTimeToLiveRequest { id, keys } = *request.get_ref();
        self.answer(
            |data| {
                let lease = data.lease(id);
                Ok(PbLeaseTimeToLiveResponse {
                    header: None,
                    id,
                    ttl: lease.map_or(-1, |lease| {
                        i64::try_from(lease.left.as_secs()).unwrap_or(i64::MAX)
                    }),
                    granted_ttl: lease.map_or(0, |lease| lease.ttl),
                    keys: if keys { data.keys_of(id) } else { Vec::new() },
                })
            },
            |answer| &mut answer.header,
        )
    }

    async fn lease_leases(
        &self,
        _: Request<PbLeaseLeasesRequest>,
    ) -> Result<Response<PbLeaseLeasesResponse>, Status> {
        self.answer(
            |data| {
                let leases = data.leases().into_iter().map(|id| PbLeaseStatus { id }).collect();
                Ok(PbLeaseLeasesResponse { header: None, leases })
            },
            |answer| &mut answer.header,
        )
    }
}

/// One watch of a stream.
struct Watch {
    key: Vec<u8>,
    end: Vec<u8>,
    /// Everything before this revision was told.
    from: i64,
}

#[async_trait]
impl PbWatchService for Member {
    type WatchStream = Answers<PbWatchResponse>;

    async fn watch(
        &self,
        requests: Request<Streaming<PbWatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (tell, told) = mpsc::channel(AHEAD);
        tokio::spawn(self.clone().follow(requests.into_inner(), tell));
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }
}

impl Member {
    /// Serves the watches of one stream, until the client is gone.
    async fn follow(
        self,
        mut requests: Streaming<PbWatchRequest>,
        tell: mpsc::Sender<Result<PbWatchResponse, Status>>,
    ) {
        let mut changed = pin!(self.etcd.shared.changed.notified());
        let mut watches: BTreeMap<i64, Watch> = BTreeMap::new();
        let mut asks = true;
        loop {
            let request = async { if asks { requests.next().await } else { pending().await } };
            let answers = tokio::select! {
                biased;
                () = tell.closed() => return,
                request = request => match request {
                    Some(Ok(request)) => self.asked(&mut watches, request),
                    Some(Err(_)) | None => {
                        asks = false;
                        Vec::new()
                    }
                },
                () = &mut changed => {
                    // Before the news are read: nothing is missed.
                    changed.set(self.etcd.shared.changed.notified());
                    Vec::new()
                }
            };
            let news = self.news(&mut watches);
            for answer in answers.into_iter().chain(news) {
                if tell.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        }
    }

    fn asked(
        &self,
        watches: &mut BTreeMap<i64, Watch>,
        request: PbWatchRequest,
    ) -> Vec<PbWatchResponse> {
        let data = self.etcd.data();
        let answer = PbWatchResponse { header: self.header(&data), ..PbWatchResponse::default() };
        match request.request_union {
            Some(PbWatchRequestUnion::CreateRequest(request)) => {
                let highest = watches.last_key_value().map_or(0, |(id, _)| id + 1);
                let watch_id = if request.watch_id == 0 { highest } else { request.watch_id };
                let created = PbWatchResponse { watch_id, created: true, ..answer.clone() };
                let start = request.start_revision;
                if start != 0 && start <= data.compacted() {
                    let canceled = PbWatchResponse {
                        watch_id,
                        canceled: true,
                        compact_revision: data.compacted(),
                        ..answer
                    };
                    return vec![created, canceled];
                }
                let from = if start == 0 { data.revision() + 1 } else { start };
                let watch = Watch { key: request.key, end: request.range_end, from };
                watches.insert(watch_id, watch);
                vec![created]
            }
            Some(PbWatchRequestUnion::CancelRequest(request)) => {
                let watch_id = request.watch_id;
                let existed = watches.remove(&watch_id).is_some();
                let canceled = PbWatchResponse { watch_id, canceled: true, ..answer };
                existed.then_some(canceled).into_iter().collect()
            }
            Some(PbWatchRequestUnion::ProgressRequest(_)) => {
                vec![PbWatchResponse { watch_id: -1, ..answer }]
            }
            None => Vec::new(),
        }
    }

    /// What the watches have not told yet, in order.
    fn news(&self, watches: &mut BTreeMap<i64, Watch>) -> Vec<PbWatchResponse> {
        let data = self.etcd.data();
        let mut news = Vec::new();
        for (&watch_id, watch) in watches.iter_mut() {
            while let Some((revision, events)) = data.changes(watch.from, &watch.key, &watch.end) {
                watch.from = revision + 1;
                let header = self.header(&data);
                news.push(PbWatchResponse {
                    header,
                    watch_id,
                    events,
                    ..PbWatchResponse::default()
                });
            }
        }
        news
    }
}
