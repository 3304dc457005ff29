//! What an etcd remembers, and what requests do with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use etcd_client::proto::{
    PbCompare, PbDeleteRequest, PbDeleteResponse, PbEvent, PbKeyValue, PbPutRequest, PbPutResponse,
    PbRangeRequest, PbRangeResponse, PbResponseOp, PbTargetUnion, PbTxnOpRequest, PbTxnOpResponse,
    PbTxnRequest, PbTxnRequestOp, PbTxnResponse,
};
use tonic::Status;

type Keys = BTreeMap<Vec<u8>, PbKeyValue>;

/// Operations of one list of a transaction.
const MAX_OPERATIONS: usize = 128;

/// Its kind, in an event.
const DELETE: i32 = 1;

/// The keys, how they became what they are, and the leases.
pub struct Data {
    revision: i64,
    keys: Keys,
    /// What was before this revision is not known any more.
    compacted: i64,
    /// The keys as of that revision.
    base: Keys,
    /// Every change since then, in order.
    history: Vec<PbEvent>,
    leases: BTreeMap<i64, Lease>,
    last_lease: i64,
}

/// A lease.
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// Its whole time, in seconds.
    pub ttl: i64,
    /// The time that is left.
    pub left: Duration,
}

impl Default for Data {
    fn default() -> Self {
        // etcd's first revision is that of nothing.
        Self {
            revision: 1,
            keys: Keys::new(),
            compacted: 0,
            base: Keys::new(),
            history: Vec::new(),
            leases: BTreeMap::new(),
            last_lease: 0,
        }
    }
}

impl Data {
    pub fn revision(&self) -> i64 {
        self.revision
    }

    pub fn compacted(&self) -> i64 {
        self.compacted
    }

    pub fn dump(&self) -> Vec<(String, Vec<u8>)> {
        let text = |key: &[u8]| String::from_utf8_lossy(key).into_owned();
        self.keys.values().map(|kv| (text(&kv.key), kv.value.clone())).collect()
    }

    pub fn history_hash(&self, ignore: impl Fn(&str) -> bool) -> u64 {
        let mut hasher = DefaultHasher::new();
        for event in &self.history {
            let Some(kv) = &event.kv else { continue };
            (event.r#type, &kv.key, kv.create_revision, kv.mod_revision).hash(&mut hasher);
            if !ignore(&String::from_utf8_lossy(&kv.key)) {
                kv.value.hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    pub fn range(&self, request: &PbRangeRequest) -> Result<PbRangeResponse, Status> {
        let past;
        let keys = match request.revision {
            0 => &self.keys,
            revision => {
                past = self.keys_at(revision)?;
                &past
            }
        };
        let found: Vec<_> = select(keys, &request.key, &request.range_end).collect();
        let count = found.len();
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
        let page = limit.unwrap_or(count).min(count);
        let show = |kv: &PbKeyValue| match request.keys_only {
            true => PbKeyValue { value: Vec::new(), ..kv.clone() },
            false => kv.clone(),
        };
        Ok(PbRangeResponse {
            header: None,
            kvs: match request.count_only {
                true => Vec::new(),
                false => found[..page].iter().map(|kv| show(kv)).collect(),
            },
            more: page < count,
            count: i64::try_from(count).expect("it fits into memory"),
        })
    }

    pub fn txn(&mut self, request: &PbTxnRequest) -> Result<PbTxnResponse, Status> {
        let PbTxnRequest { compare, success, failure } = request;
        for list in [compare.len(), success.len(), failure.len()] {
            if list > MAX_OPERATIONS {
                let sentence = "etcdserver: too many operations in txn request";
                return Err(Status::invalid_argument(sentence));
            }
        }
        for branch in [success, failure] {
            self.check(branch)?;
        }
        let succeeded = compare.iter().all(|compare| self.holds(compare));
        let next = self.revision + 1;
        let mut responses = Vec::new();
        for operation in if succeeded { success } else { failure } {
            responses.push(PbResponseOp { response: Some(self.carry_out(operation, next)?) });
        }
        Ok(PbTxnResponse { header: None, succeeded, responses })
    }

    pub fn put(&mut self, request: &PbPutRequest) -> Result<PbPutResponse, Status> {
        self.check(&[PbTxnRequestOp {
            request: Some(PbTxnOpRequest::RequestPut(request.clone())),
        }])?;
        Ok(self.put_at(request, self.revision + 1))
    }

    pub fn delete(&mut self, request: &PbDeleteRequest) -> PbDeleteResponse {
        self.delete_at(request, self.revision + 1)
    }

    pub fn compact(&mut self, revision: i64) -> Result<(), Status> {
        self.base = self.keys_at(revision)?;
        self.compacted = revision;
        self.history.retain(|event| revision_of(event) > revision);
        Ok(())
    }

    /// The changes of the next revision, not before `from`, that has one of these
    /// keys; they come together.
    pub fn changes(&self, from: i64, key: &[u8], end: &[u8]) -> Option<(i64, Vec<PbEvent>)> {
        let start = self.history.partition_point(|event| revision_of(event) < from);
        let mut relevant = self.history[start..]
            .iter()
            .filter(|event| event.kv.as_ref().is_some_and(|kv| is_within(&kv.key, key, end)));
        let first = relevant.next()?;
        let revision = revision_of(first);
        let rest = relevant.take_while(|event| revision_of(event) == revision);
        Some((revision, std::iter::once(first).chain(rest).cloned().collect()))
    }

    /// Grants a lease: its id; 0 lets etcd choose one.
    pub fn grant(&mut self, id: i64, ttl: i64) -> Result<i64, Status> {
        if self.leases.contains_key(&id) {
            return Err(Status::failed_precondition("etcdserver: lease already exists"));
        }
        self.last_lease += 1;
        let id = if id == 0 { self.last_lease } else { id };
        self.leases.insert(id, Lease { ttl, left: whole(ttl) });
        Ok(id)
    }

    /// Keeps a lease alive: its whole time; 0 if it is gone.
    pub fn keep_alive(&mut self, id: i64) -> i64 {
        self.leases.get_mut(&id).map_or(0, |lease| {
            lease.left = whole(lease.ttl);
            lease.ttl
        })
    }

    pub fn lease(&self, id: i64) -> Option<Lease> {
        self.leases.get(&id).copied()
    }

    pub fn leases(&self) -> Vec<i64> {
        self.leases.keys().copied().collect()
    }

    pub fn keys_of(&self, lease: i64) -> Vec<Vec<u8>> {
        let own = self.keys.values().filter(|kv| kv.lease == lease);
        own.map(|kv| kv.key.clone()).collect()
    }

    /// Ends a lease: all its keys go in one revision.
    pub fn revoke(&mut self, id: i64) -> Result<(), Status> {
        if self.leases.remove(&id).is_none() {
            return Err(lease_not_found());
        }
        let next = self.revision + 1;
        for key in self.keys_of(id) {
            self.delete_at(&PbDeleteRequest { key, ..PbDeleteRequest::default() }, next);
        }
        Ok(())
    }

    /// Time passes; leases that have none left end.
    pub fn leases_age(&mut self, by: Duration) {
        for lease in self.leases.values_mut() {
            lease.left = lease.left.saturating_sub(by);
        }
        let over = self.leases.iter().filter(|(_, lease)| lease.left.is_zero());
        for id in over.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.revoke(id).expect("it is there");
        }
    }

    pub fn leases_begin_anew(&mut self) {
        for lease in self.leases.values_mut() {
            lease.left = whole(lease.ttl);
        }
    }

    /// The keys as of a revision.
    fn keys_at(&self, revision: i64) -> Result<Keys, Status> {
        if revision > self.revision {
            let sentence = "etcdserver: mvcc: required revision is a future revision";
            return Err(Status::out_of_range(sentence));
        }
        if revision < self.compacted {
            return Err(compacted());
        }
        let mut keys = self.base.clone();
        for event in self.history.iter().take_while(|event| revision_of(event) <= revision) {
            let Some(kv) = &event.kv else { continue };
            if event.r#type == DELETE {
                keys.remove(&kv.key);
            } else {
                keys.insert(kv.key.clone(), kv.clone());
            }
        }
        Ok(keys)
    }

    /// Nothing is carried out if anything cannot be.
    fn check(&self, operations: &[PbTxnRequestOp]) -> Result<(), Status> {
        let mut put = BTreeSet::new();
        let mut deleted = Vec::new();
        for operation in operations {
            match operation.request.as_ref() {
                Some(PbTxnOpRequest::RequestPut(request)) => {
                    if request.key.is_empty() {
                        return Err(Status::invalid_argument("etcdserver: key is not provided"));
                    }
                    if request.lease != 0 && !self.leases.contains_key(&request.lease) {
                        return Err(lease_not_found());
                    }
                    if !put.insert(&request.key) {
                        return Err(duplicate_key());
                    }
                }
                Some(PbTxnOpRequest::RequestDeleteRange(request)) => deleted.push(request),
                Some(PbTxnOpRequest::RequestRange(_)) => {}
                Some(PbTxnOpRequest::RequestTxn(_)) | None => {
                    return Err(Status::unimplemented("a transaction in a transaction"));
                }
            }
        }
        let is_put_too = |request: &&PbDeleteRequest| {
            put.iter().any(|key| is_within(key, &request.key, &request.range_end))
        };
        if deleted.iter().any(is_put_too) { Err(duplicate_key()) } else { Ok(()) }
    }

    fn holds(&self, compare: &PbCompare) -> bool {
        let kv = self.keys.get(&compare.key);
        let number = |of: fn(&PbKeyValue) -> i64| kv.map_or(0, of);
        let order = match &compare.target_union {
            Some(PbTargetUnion::Version(wanted)) => number(|kv| kv.version).cmp(wanted),
            Some(PbTargetUnion::CreateRevision(wanted)) => {
                number(|kv| kv.create_revision).cmp(wanted)
            }
            Some(PbTargetUnion::ModRevision(wanted)) => number(|kv| kv.mod_revision).cmp(wanted),
            Some(PbTargetUnion::Lease(wanted)) => number(|kv| kv.lease).cmp(wanted),
            Some(PbTargetUnion::Value(wanted)) => match kv {
                Some(kv) => kv.value.cmp(wanted),
                None => return false,
            },
            None => return false,
        };
        // EQUAL, GREATER, LESS, NOT_EQUAL.
        match compare.result {
            0 => order.is_eq(),
            1 => order.is_gt(),
            2 => order.is_lt(),
            _ => order.is_ne(),
        }
    }

    fn carry_out(
        &mut self,
        operation: &PbTxnRequestOp,
        at: i64,
    ) -> Result<PbTxnOpResponse, Status> {
        Ok(match operation.request.as_ref() {
            Some(PbTxnOpRequest::RequestPut(request)) => {
                PbTxnOpResponse::ResponsePut(self.put_at(request, at))
            }
            Some(PbTxnOpRequest::RequestDeleteRange(request)) => {
                PbTxnOpResponse::ResponseDeleteRange(self.delete_at(request, at))
            }
            Some(PbTxnOpRequest::RequestRange(request)) => {
                PbTxnOpResponse::ResponseRange(self.range(request)?)
            }
            Some(PbTxnOpRequest::RequestTxn(_)) | None => unreachable!("checked before"),
        })
    }

    fn put_at(&mut self, request: &PbPutRequest, revision: i64) -> PbPutResponse {
        let before = self.keys.get(&request.key);
        let kv = PbKeyValue {
            key: request.key.clone(),
            value: request.value.clone(),
            create_revision: before.map_or(revision, |kv| kv.create_revision),
            mod_revision: revision,
            version: before.map_or(1, |kv| kv.version + 1),
            lease: request.lease,
        };
        self.revision = revision;
        self.history.push(PbEvent { r#type: 0, kv: Some(kv.clone()), prev_kv: None });
        let before = self.keys.insert(request.key.clone(), kv);
        PbPutResponse { header: None, prev_kv: before.filter(|_| request.prev_kv) }
    }

    fn delete_at(&mut self, request: &PbDeleteRequest, revision: i64) -> PbDeleteResponse {
        let gone: Vec<_> =
            select(&self.keys, &request.key, &request.range_end).map(|kv| kv.key.clone()).collect();
        let mut prev_kvs = Vec::new();
        for key in gone {
            prev_kvs.extend(self.keys.remove(&key));
            let kv = PbKeyValue { key, mod_revision: revision, ..PbKeyValue::default() };
            self.history.push(PbEvent { r#type: DELETE, kv: Some(kv), prev_kv: None });
            self.revision = revision;
        }
        let deleted = i64::try_from(prev_kvs.len()).expect("it fits into memory");
        prev_kvs.retain(|_| request.prev_kv);
        PbDeleteResponse { header: None, deleted, prev_kvs }
    }
}

/// Says that a revision is not known any more.
pub fn compacted() -> Status {
    Status::out_of_range("etcdserver: mvcc: required revision has been compacted")
}

/// Says that a lease is gone.
pub fn lease_not_found() -> Status {
    Status::not_found("etcdserver: requested lease not found")
}

fn duplicate_key() -> Status {
    Status::invalid_argument("etcdserver: duplicate key given in txn request")
}

fn whole(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}

fn revision_of(event: &PbEvent) -> i64 {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

fn select<'a>(
    keys: &'a Keys,
    key: &'a [u8],
    end: &'a [u8],
) -> impl Iterator<Item = &'a PbKeyValue> {
    let from = keys.range(key.to_vec()..).map(|(_, kv)| kv);
    from.take_while(move |kv| is_within(&kv.key, key, end))
}

/// An end of nothing: this key alone; of one zero: all keys from this one on.
fn is_within(name: &[u8], key: &[u8], end: &[u8]) -> bool {
    match end {
        [] => name == key,
        [0] => name >= key,
        _ => name >= key && name < end,
    }
}
