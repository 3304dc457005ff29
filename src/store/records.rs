//! The bytes of every value of the store.
//!
//! A value is a message of `quotagate.store.v1`. Each carries the number of its
//! format, which is read before anything else, so that a value of a newer
//! format is told from a damaged one. Times are stored as whole milliseconds,
//! **always rounded up**: a stamp, a deadline or a window that comes back is
//! never earlier or shorter than what was written, so that rounding can only
//! make calls count longer.

use std::time::Duration;

use prost::Message;

use crate::{
    proto::store::v1 as wire,
    quota::{
        Class, CoolingCause, CoolingRecord, CounterRecord, ForeignRecord, GroupRecord, Kind,
        LimitName, ToldRecord, Wall, Warned, time::micros,
    },
};

/// The format that this build writes, and the only one that it reads.
pub const FORMAT: u32 = 1;

/// How many changes of an org's settings are kept.
pub const CHANGES_KEPT: usize = 100;

/// A value of the store.
pub trait Record: Sized {
    /// Its bytes.
    fn encode(&self) -> Vec<u8>;

    /// Reads it back.
    ///
    /// # Errors
    /// [`RecordError`]: the value cannot be used, and nothing may be concluded
    /// from it.
    fn decode(bytes: &[u8]) -> Result<Self, RecordError>;
}

/// Why the bytes of a value cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Another version of quotagate wrote it.
    #[error("the value has the format {found}; this build knows {FORMAT}")]
    UnknownFormat {
        /// The format it carries.
        found: u32,
    },
    /// Nothing that any version wrote.
    #[error("the value is damaged: {0}")]
    Damaged(String),
}

/// Who grants for a shard: the value of [`Key::ShardOwner`](super::Key::ShardOwner).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerRecord {
    /// The owner's name.
    pub node: String,
    /// Tells two lives of one node apart.
    pub incarnation: String,
}

/// A node of the cluster: the value of [`Key::Node`](super::Key::Node).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Where clients reach it, `HOST:PORT`.
    pub address: String,
    /// Where other nodes reach it, `HOST:PORT`.
    pub peer_address: String,
    /// Tells two sessions of one node apart.
    pub incarnation: String,
    /// The version of quotagate that it runs.
    pub version: String,
    /// It hands its shards over and wants no more.
    pub draining: bool,
}

/// The birth of a cluster: the value of [`Key::Generation`](super::Key::Generation).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationRecord {
    /// Tells two clusters apart that were made at the same place.
    pub id: String,
    /// The number of shards that it was made with.
    pub shards: u32,
    /// The version of quotagate that made it.
    pub created_by: String,
}

/// What was counted until a moment is not known, so all of it counts as spent
/// then: the value of [`Key::Closed`](super::Key::Closed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedRecord {
    /// The moment.
    pub since: Wall,
}

/// What was declared for an org: the value of [`Key::OrgConfig`](super::Key::OrgConfig).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrgConfigRecord {
    /// The declaration, as the configuration file has it; `None` if it was
    /// withdrawn. Never an empty text.
    pub org_yaml: Option<String>,
    /// Counts the changes.
    pub version: u64,
    /// The last [`CHANGES_KEPT`] changes, newest first.
    pub changes: Vec<ChangeRecord>,
}

/// One change of an org's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRecord {
    /// When.
    pub time: Wall,
    /// Who.
    pub who: String,
    /// What: the name of the RPC.
    pub action: String,
    /// The declaration before; empty if there was none.
    pub before: String,
    /// The declaration after; empty if there is none.
    pub after: String,
    /// From where: an address; empty if it is not known.
    pub from: String,
}

/// What the store is: the value of [`Key::MetaStore`](super::Key::MetaStore).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaRecord {
    /// The number of shards that it was made with.
    pub shards: u32,
    /// The version of quotagate that made it.
    pub created_by: String,
}

impl OrgConfigRecord {
    /// Takes over a change: the declaration that it leaves, the next version,
    /// and its place in the list, from which the oldest falls.
    pub fn change(&mut self, change: ChangeRecord) {
        self.org_yaml = Some(change.after.clone()).filter(|yaml| !yaml.is_empty());
        self.version += 1;
        self.changes.truncate(CHANGES_KEPT - 1);
        self.changes.insert(0, change);
    }
}

impl Record for GroupRecord {
    fn encode(&self) -> Vec<u8> {
        let record = wire::GroupRecord {
            format: FORMAT,
            epoch: self.epoch,
            seq: self.seq,
            config_revision: self.config_revision,
            counters: self.counters.iter().map(counter_to_wire).collect(),
            foreign: self.foreign.map(|foreign| wire::ForeignRecord {
                estimate: foreign.estimate,
                as_of_ms: ms_up(foreign.as_of),
                limit: foreign.limit.unwrap_or(0),
                used: foreign.used,
            }),
            paused_classes: self.paused.iter().map(|class| class_to_wire(*class)).collect(),
            written_ms: ms_up(self.written),
            told: self.told.as_ref().map(told_to_wire),
        };
        record.encode_to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let record: wire::GroupRecord = message(bytes)?;
        Ok(Self {
            epoch: record.epoch,
            seq: record.seq,
            config_revision: record.config_revision,
            counters: record
                .counters
                .into_iter()
                .map(counter_from_wire)
                .collect::<Result<_, RecordError>>()?,
            foreign: record.foreign.map(foreign_from_wire).transpose()?,
            paused: record
                .paused_classes
                .into_iter()
                .map(class_from_wire)
                .collect::<Result<_, RecordError>>()?,
            written: wall(record.written_ms)?,
            told: record.told.map(told_from_wire).transpose()?,
        })
    }
}

impl Record for OwnerRecord {
    fn encode(&self) -> Vec<u8> {
        let Self { node, incarnation } = self.clone();
        wire::OwnerRecord { format: FORMAT, node, incarnation }.encode_to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let wire::OwnerRecord { format: _, node, incarnation } = message(bytes)?;
        Ok(Self { node, incarnation })
    }
}

impl Record for NodeRecord {
    fn encode(&self) -> Vec<u8> {
        let Self { address, peer_address, incarnation, version, draining } = self.clone();
        let format = FORMAT;
        wire::NodeRecord { format, address, peer_address, incarnation, version, draining }
            .encode_to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let wire::NodeRecord { format: _, address, peer_address, incarnation, version, draining } =
            message(bytes)?;
        Ok(Self { address, peer_address, incarnation, version, draining })
    }
}

impl Record for GenerationRecord {
    fn encode(&self) -> Vec<u8> {
        let Self { id, shards, created_by } = self.clone();
        wire::GenerationRecord { format: FORMAT, id, shards, created_by }.encode_to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let wire::GenerationRecord { format: _, id, shards, created_by } = message(bytes)?;
        Ok(Self { id, shards, created_by })
    }
}

impl Record for ClosedRecord {
    fn encode(&self) -> Vec<u8> {
        wire::ClosedRecord { format: FORMAT, since_ms: ms_up(self.since) }.encode_to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let wire::ClosedRecord { format: _, since_ms } = message(bytes)?;
        Ok(Self { since: wall(since_ms)? })
    }
}

impl Record for OrgConfigRecord {
    fn encode(&self) -> Vec<u8> {
        let record = wire::OrgConfigRecord {
            format: FORMAT,
            org_yaml: self.org_yaml.clone().unwrap_or_default(),
            version: self.version,
            changes: self.changes.iter().take(CHANGES_KEPT).map(change_to_wire).collect(),
        };
        record.encode_to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let record: wire::OrgConfigRecord = message(bytes)?;
        Ok(Self {
            org_yaml: Some(record.org_yaml).filter(|yaml| !yaml.is_empty()),
            version: record.version,
            changes: record
                .changes
                .into_iter()
                .take(CHANGES_KEPT)
                .map(change_from_wire)
                .collect::<Result<_, RecordError>>()?,
        })
    }
}

impl Record for MetaRecord {
    fn encode(&self) -> Vec<u8> {
        let Self { shards, created_by } = self.clone();
        wire::MetaRecord { format: FORMAT, shards, created_by }.encode_to_vec()
    }

    fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let wire::MetaRecord { format: _, shards, created_by } = message(bytes)?;
        Ok(Self { shards, created_by })
    }
}

/// What every value begins with, whatever its format.
#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(uint32, tag = "1")]
    format: u32,
}

/// Reads a message of [`FORMAT`].
fn message<M: Message + Default>(bytes: &[u8]) -> Result<M, RecordError> {
    let undecodable = |error: prost::DecodeError| RecordError::Damaged(error.to_string());
    match Envelope::decode(bytes).map_err(undecodable)?.format {
        FORMAT => M::decode(bytes).map_err(undecodable),
        0 => Err(RecordError::Damaged("it carries no format".into())),
        found => Err(RecordError::UnknownFormat { found }),
    }
}

fn counter_to_wire(counter: &CounterRecord) -> wire::CounterRecord {
    wire::CounterRecord {
        limit: counter.limit.to_string(),
        kind: match counter.kind {
            Kind::Window => 1,
            Kind::Concurrency => 2,
        },
        window_ms: duration_ms_up(counter.window),
        ttl_cap_ms: duration_ms_up(counter.ttl_cap),
        sealed: Some(pack(&counter.sealed)),
        lost: Some(pack(&counter.lost)),
        open_n: counter.open,
        open_until_ms: ms_up(counter.open_until),
        bound_plus_one: counter.bound.map_or(0, |bound| bound.saturating_add(1)),
        cooling: counter.cooling.map(|cooling| wire::CoolingRecord {
            cause: cause_to_wire(cooling.cause),
            since_ms: ms_up(cooling.since),
            until_ms: ms_up(cooling.until),
            attempts: cooling.attempts,
            probe_out: cooling.probe_out,
            lowered: cooling.lowered,
        }),
    }
}

fn counter_from_wire(counter: wire::CounterRecord) -> Result<CounterRecord, RecordError> {
    Ok(CounterRecord {
        limit: LimitName::parse(&counter.limit).map_err(|bad| {
            RecordError::Damaged(format!("the limit's name {:?} {bad}", counter.limit))
        })?,
        kind: match counter.kind {
            1 => Kind::Window,
            2 => Kind::Concurrency,
            other => return Err(RecordError::Damaged(format!("no limit is of kind {other}"))),
        },
        window: length(counter.window_ms)?,
        ttl_cap: length(counter.ttl_cap_ms)?,
        sealed: unpack(counter.sealed.unwrap_or_default())?,
        lost: unpack(counter.lost.unwrap_or_default())?,
        open: counter.open_n,
        open_until: wall(counter.open_until_ms)?,
        bound: counter.bound_plus_one.checked_sub(1),
        cooling: counter.cooling.map(cooling_from_wire).transpose()?,
    })
}

fn cooling_from_wire(cooling: wire::CoolingRecord) -> Result<CoolingRecord, RecordError> {
    let wire::CoolingRecord { cause, since_ms, until_ms, attempts, probe_out, lowered } = cooling;
    let (since, until) = (wall(since_ms)?, wall(until_ms)?);
    let cause = cause_from_wire(cause)?;
    Ok(CoolingRecord { cause, since, until, attempts, probe_out, lowered })
}

/// Packs entries as the first stamp and differences. Stamps that round to the
/// same millisecond become one entry; a stamp that lies before the one ahead of
/// it, which the ledger never hands over, is taken to be as late.
fn pack(entries: &[(Wall, u64)]) -> wire::PackedEntries {
    let mut packed = wire::PackedEntries::default();
    let mut last_ms = 0;
    for &(stamp, units) in entries {
        let ms = ms_up(stamp).max(last_ms);
        match packed.units.last_mut() {
            Some(same) if ms == last_ms => *same = same.saturating_add(units),
            _ => {
                packed.stamp_deltas_ms.push(ms - last_ms);
                packed.units.push(units);
            }
        }
        last_ms = ms;
    }
    packed
}

fn unpack(packed: wire::PackedEntries) -> Result<Vec<(Wall, u64)>, RecordError> {
    let wire::PackedEntries { stamp_deltas_ms, units } = packed;
    if stamp_deltas_ms.len() != units.len() {
        return Err(RecordError::Damaged(format!(
            "{} stamps but {} counts",
            stamp_deltas_ms.len(),
            units.len()
        )));
    }
    let mut ms = 0_u64;
    let mut entries = Vec::with_capacity(units.len());
    for (delta, units) in stamp_deltas_ms.into_iter().zip(units) {
        if delta == 0 && !entries.is_empty() {
            return Err(RecordError::Damaged("the stamps do not rise".into()));
        }
        ms = ms.checked_add(delta).ok_or_else(beyond_time)?;
        entries.push((wall(ms)?, units));
    }
    Ok(entries)
}

fn foreign_from_wire(foreign: wire::ForeignRecord) -> Result<ForeignRecord, RecordError> {
    Ok(ForeignRecord {
        estimate: foreign.estimate,
        as_of: wall(foreign.as_of_ms)?,
        limit: Some(foreign.limit).filter(|limit| *limit != 0),
        used: foreign.used,
    })
}

fn change_to_wire(change: &ChangeRecord) -> wire::ChangeRecord {
    let ChangeRecord { time, who, action, before, after, from } = change.clone();
    wire::ChangeRecord { time_ms: ms_up(time), who, action, before, after, from }
}

fn change_from_wire(change: wire::ChangeRecord) -> Result<ChangeRecord, RecordError> {
    let wire::ChangeRecord { time_ms, who, action, before, after, from } = change;
    Ok(ChangeRecord { time: wall(time_ms)?, who, action, before, after, from })
}

/// The number of a class in `quotagate.v1.TrafficClass`, which records share
/// with the public contract so that there is one list of them.
fn class_to_wire(class: Class) -> u32 {
    match class {
        Class::Bulk => 1,
        Class::Event => 2,
        Class::Interactive => 3,
        Class::Control => 4,
    }
}

fn class_from_wire(number: u32) -> Result<Class, RecordError> {
    Class::ALL
        .into_iter()
        .find(|class| class_to_wire(*class) == number)
        .ok_or_else(|| RecordError::Damaged(format!("no traffic class has the number {number}")))
}

fn told_to_wire(told: &ToldRecord) -> wire::ToldRecord {
    wire::ToldRecord {
        paused_classes: told.paused.iter().map(|class| class_to_wire(*class)).collect(),
        warned: match told.warned {
            Warned::Nothing => 0,
            Warned::Approaching => 1,
            Warned::Reached => 2,
        },
    }
}

fn told_from_wire(told: wire::ToldRecord) -> Result<ToldRecord, RecordError> {
    Ok(ToldRecord {
        paused: told
            .paused_classes
            .into_iter()
            .map(class_from_wire)
            .collect::<Result<_, RecordError>>()?,
        warned: match told.warned {
            0 => Warned::Nothing,
            1 => Warned::Approaching,
            2 => Warned::Reached,
            other => {
                return Err(RecordError::Damaged(format!("no warning has the number {other}")));
            }
        },
    })
}

/// The number of a cause in `quotagate.v1.CoolingCause`, likewise.
fn cause_to_wire(cause: CoolingCause) -> u32 {
    match cause {
        CoolingCause::Throttled => 1,
        CoolingCause::LimitExceeded => 2,
        CoolingCause::ConcurrencyExceeded => 3,
        CoolingCause::LoginsExceeded => 4,
        CoolingCause::CounterExceeded => 5,
        CoolingCause::TotalExceeded => 6,
    }
}

fn cause_from_wire(number: u32) -> Result<CoolingCause, RecordError> {
    CoolingCause::ALL.into_iter().find(|cause| cause_to_wire(*cause) == number).ok_or_else(|| {
        RecordError::Damaged(format!("no cause of a cooling-down has the number {number}"))
    })
}

const MICROS_PER_MS: u64 = 1000;

fn ms_up(time: Wall) -> u64 {
    time.0.div_ceil(MICROS_PER_MS)
}

fn duration_ms_up(duration: Duration) -> u64 {
    micros(duration).div_ceil(MICROS_PER_MS)
}

fn wall(ms: u64) -> Result<Wall, RecordError> {
    ms.checked_mul(MICROS_PER_MS).map(Wall).ok_or_else(beyond_time)
}

/// A length that the ledger, which counts in microseconds, does not cut short.
fn length(ms: u64) -> Result<Duration, RecordError> {
    ms.checked_mul(MICROS_PER_MS).map(Duration::from_micros).ok_or_else(beyond_time)
}

fn beyond_time() -> RecordError {
    RecordError::Damaged("a time lies beyond the end of time".into())
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    fn check_round_trip<R: Record + PartialEq + fmt::Debug>(record: &R) {
        assert_eq!(R::decode(&record.encode()).as_ref(), Ok(record));
    }

    #[test]
    fn classes_have_the_numbers_of_the_public_contract() {
        use crate::proto::v1::TrafficClass;
        for (class, public) in [
            (Class::Bulk, TrafficClass::Bulk),
            (Class::Event, TrafficClass::Event),
            (Class::Interactive, TrafficClass::Interactive),
            (Class::Control, TrafficClass::Control),
        ] {
            assert_eq!(i64::from(class_to_wire(class)), i64::from(i32::from(public)));
        }
    }

    #[test]
    fn causes_have_the_numbers_of_the_public_contract() {
        use crate::proto::v1::CoolingCause as Public;
        for cause in CoolingCause::ALL {
            let public = Public::try_from(i32::try_from(cause_to_wire(cause)).expect("small"));
            let name = format!("COOLING_CAUSE_{}", cause.name().to_uppercase());
            assert_eq!(public.map(|public| public.as_str_name().to_owned()), Ok(name));
            assert_eq!(cause_from_wire(cause_to_wire(cause)), Ok(cause));
        }
        assert!(cause_from_wire(0).is_err());
    }

    #[test]
    fn an_unknown_format_is_told_even_where_nothing_else_can_be_read() {
        // In the format of tomorrow field 2 of every message is a text that is
        // not UTF-8, and no field of today.
        let tomorrow = [0x08, 0x07, 0x12, 0x01, 0xff];
        let unknown = RecordError::UnknownFormat { found: 7 };
        assert_eq!(GroupRecord::decode(&tomorrow).err(), Some(unknown.clone()));
        assert_eq!(OwnerRecord::decode(&tomorrow).err(), Some(unknown.clone()));
        assert_eq!(OrgConfigRecord::decode(&tomorrow).err(), Some(unknown.clone()));
        assert_eq!(MetaRecord::decode(&tomorrow).err(), Some(unknown));
    }

    #[test]
    fn damage_is_an_error() {
        let counter = || wire::CounterRecord { limit: "l".into(), kind: 1, ..Default::default() };
        let group = |counter| wire::GroupRecord {
            format: FORMAT,
            counters: vec![counter],
            ..Default::default()
        };
        let packed = |deltas: &[u64], units: &[u64]| {
            let entries =
                wire::PackedEntries { stamp_deltas_ms: deltas.into(), units: units.into() };
            group(wire::CounterRecord { sealed: Some(entries), ..counter() }).encode_to_vec()
        };
        for (what, bytes) in [
            ("nothing at all", vec![]),
            ("no format", wire::GroupRecord { epoch: 7, ..Default::default() }.encode_to_vec()),
            ("garbage", vec![0xff; 20]),
            ("a cut-off message", {
                let mut bytes = group(counter()).encode_to_vec();
                bytes.pop();
                bytes
            }),
            ("no kind", group(wire::CounterRecord { kind: 0, ..counter() }).encode_to_vec()),
            ("no name", group(wire::CounterRecord::default()).encode_to_vec()),
            ("no such class", {
                let paused_classes = vec![5];
                wire::GroupRecord { format: FORMAT, paused_classes, ..Default::default() }
                    .encode_to_vec()
            }),
            ("a stamp without units", packed(&[1, 1], &[1])),
            ("stamps that stand still", packed(&[1, 0], &[1, 1])),
            ("stamps beyond time", packed(&[u64::MAX, 1], &[1, 1])),
            ("a stamp beyond time", packed(&[u64::MAX / 999], &[1])),
            ("a window longer than time", {
                group(wire::CounterRecord { window_ms: u64::MAX / 999, ..counter() })
                    .encode_to_vec()
            }),
            ("a permit's life longer than time", {
                group(wire::CounterRecord { ttl_cap_ms: u64::MAX / 999, ..counter() })
                    .encode_to_vec()
            }),
        ] {
            let outcome = GroupRecord::decode(&bytes);
            assert!(matches!(outcome, Err(RecordError::Damaged(_))), "{what}: {outcome:?}");
        }
    }

    #[test]
    fn what_is_finer_than_a_millisecond_is_rounded_to_later() {
        let us = |us: u64| Wall(5_000_000 + us);
        let counter = |sealed, open_until, window| CounterRecord {
            limit: LimitName::calls(),
            kind: Kind::Window,
            window,
            ttl_cap: window,
            sealed,
            lost: vec![],
            open: 3,
            open_until,
            bound: None,
            cooling: Some(CoolingRecord {
                cause: CoolingCause::TotalExceeded,
                since: open_until,
                until: open_until,
                attempts: 1,
                probe_out: true,
                lowered: 0,
            }),
        };
        let record = GroupRecord {
            counters: vec![counter(
                vec![(us(1), 1), (us(1000), 2), (us(1001), 4), (us(3000), 8)],
                us(1),
                Duration::from_micros(1001),
            )],
            written: us(999),
            ..GroupRecord::default()
        };
        let rounded = GroupRecord {
            counters: vec![counter(
                vec![(us(1000), 3), (us(2000), 4), (us(3000), 8)],
                us(1000),
                Duration::from_micros(2000),
            )],
            written: us(1000),
            ..GroupRecord::default()
        };
        assert_eq!(GroupRecord::decode(&record.encode()), Ok(rounded));
    }

    #[test]
    fn an_entry_out_of_order_counts_as_long_as_the_one_before() {
        let entries = [(Wall(2000), 1), (Wall(1000), 2), (Wall(3000), 4)];
        assert_eq!(unpack(pack(&entries)), Ok(vec![(Wall(2000), 3), (Wall(3000), 4)]));
    }

    #[test]
    fn a_day_of_a_busy_counter_takes_at_most_three_kilobytes() {
        // 256 exact entries, some five minutes apart, hundreds of units each.
        let sealed =
            (1..=256_u64).map(|n| (Wall(1_800_000_000_000_000 + n * 337_123_000), 400 + n));
        let counter = CounterRecord {
            limit: LimitName::calls(),
            kind: Kind::Window,
            window: Duration::from_secs(86_400),
            ttl_cap: Duration::from_secs(300),
            sealed: sealed.collect(),
            lost: vec![],
            open: 500,
            open_until: Wall(1_800_086_400_000_000),
            bound: Some(5_000_000),
            cooling: None,
        };
        let record = GroupRecord { counters: vec![counter], ..GroupRecord::default() };
        let bytes = record.encode().len();
        assert!(bytes <= 3 * 1024, "{bytes} bytes");
    }

    #[test]
    fn an_org_keeps_its_last_changes_newest_first() {
        let mut record = OrgConfigRecord::default();
        for n in 1..=150_u64 {
            record.change(ChangeRecord {
                time: Wall(n * 1000),
                who: "ops".into(),
                action: "PutOrg".into(),
                before: String::new(),
                after: format!("id: acme # {n}"),
                from: "192.0.2.1:50000".into(),
            });
        }
        assert_eq!(record.version, 150);
        assert_eq!(record.org_yaml.as_deref(), Some("id: acme # 150"));
        let times: Vec<u64> = record.changes.iter().map(|change| change.time.0 / 1000).collect();
        assert_eq!(times, (51..=150).rev().collect::<Vec<u64>>());
        check_round_trip(&record);

        record.change(ChangeRecord { after: String::new(), ..record.changes[0].clone() });
        assert_eq!((record.org_yaml.as_ref(), record.version), (None, 151));
        check_round_trip(&record);
    }

    /// Whole milliseconds, up to the year 5138.
    fn times() -> impl Strategy<Value = Wall> {
        (0..100_000_000_000_000_u64).prop_map(|ms| Wall(ms * 1000))
    }

    fn lengths() -> impl Strategy<Value = Duration> {
        (0..10_000_000_000_u64).prop_map(Duration::from_millis)
    }

    fn entries() -> impl Strategy<Value = Vec<(Wall, u64)>> {
        (times(), vec((1..100_000_000_u64, any::<u64>()), 0..40)).prop_map(|(first, steps)| {
            let mut stamp = first;
            let next = |(step_ms, units)| {
                let entry = (stamp, units);
                stamp = stamp + Duration::from_millis(step_ms);
                entry
            };
            steps.into_iter().map(next).collect()
        })
    }

    fn counters() -> impl Strategy<Value = CounterRecord> {
        let limit = "[A-Za-z0-9._-]{1,64}"
            .prop_filter_map("a limit's name", |name| LimitName::parse(&name).ok());
        let kind = prop_oneof![Just(Kind::Window), Just(Kind::Concurrency)];
        let cause = proptest::sample::select(CoolingCause::ALL.to_vec());
        let cooling = (cause, times(), times(), any::<u32>(), any::<bool>(), any::<u64>())
            .prop_map(|(cause, since, until, attempts, probe_out, lowered)| CoolingRecord {
                cause,
                since,
                until,
                attempts,
                probe_out,
                lowered,
            });
        let block = (any::<u64>(), times(), option::of(0..u64::MAX), option::of(cooling));
        (limit, kind, lengths(), lengths(), entries(), entries(), block).prop_map(
            |(limit, kind, window, ttl_cap, sealed, lost, (open, open_until, bound, cooling))| {
                CounterRecord {
                    limit,
                    kind,
                    window,
                    ttl_cap,
                    sealed,
                    lost,
                    open,
                    open_until,
                    bound,
                    cooling,
                }
            },
        )
    }

    fn groups() -> impl Strategy<Value = GroupRecord> {
        let foreign = (any::<u64>(), times(), option::of(1..=u64::MAX), any::<u64>()).prop_map(
            |(estimate, as_of, limit, used)| ForeignRecord { estimate, as_of, limit, used },
        );
        let paused = proptest::sample::subsequence(Class::ALL.to_vec(), 0..=4);
        let warned =
            proptest::sample::select(vec![Warned::Nothing, Warned::Approaching, Warned::Reached]);
        let told =
            (paused.clone(), warned).prop_map(|(paused, warned)| ToldRecord { paused, warned });
        let state = (paused, option::of(told));
        (any::<[u64; 3]>(), vec(counters(), 0..5), option::of(foreign), state, times()).prop_map(
            |([epoch, seq, config_revision], counters, foreign, (paused, told), written)| {
                GroupRecord {
                    epoch,
                    seq,
                    config_revision,
                    counters,
                    foreign,
                    paused,
                    written,
                    told,
                }
            },
        )
    }

    fn changes() -> impl Strategy<Value = ChangeRecord> {
        (times(), any::<[String; 5]>()).prop_map(|(time, [who, action, before, after, from])| {
            ChangeRecord { time, who, action, before, after, from }
        })
    }

    proptest! {
        #[test]
        fn groups_come_back(record in groups()) {
            check_round_trip(&record);
        }

        #[test]
        fn owners_come_back(node: String, incarnation: String) {
            check_round_trip(&OwnerRecord { node, incarnation });
        }

        #[test]
        fn declarations_come_back(
            org_yaml in option::of("(?s).{1,200}"),
            version: u64,
            changes in vec(changes(), 0..=CHANGES_KEPT / 10),
        ) {
            check_round_trip(&OrgConfigRecord { org_yaml, version, changes });
        }

        #[test]
        fn stores_come_back(shards: u32, created_by: String) {
            check_round_trip(&MetaRecord { shards, created_by });
        }

        #[test]
        fn rounding_never_makes_anything_earlier(us in 0..u64::MAX / 2, units: u64) {
            let unpacked = unpack(pack(&[(Wall(us), units)]))?;
            prop_assert_eq!(unpacked.len(), 1);
            let (stamp, back) = unpacked[0];
            prop_assert_eq!(back, units);
            prop_assert!((us..us + 1000).contains(&stamp.0));
        }

        #[test]
        fn garbage_never_panics(bytes: Vec<u8>) {
            let _ = GroupRecord::decode(&bytes);
            let _ = OrgConfigRecord::decode(&bytes);
        }

        #[test]
        fn damaged_groups_never_panic(
            record in groups(), at in any::<proptest::sample::Index>(), byte: u8,
        ) {
            let mut bytes = record.encode();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = GroupRecord::decode(&bytes);
        }
    }
}
