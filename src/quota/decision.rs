//! Questions to the ledger and its answers, in the domain's own terms.

use std::{fmt, sync::Arc, time::Duration};

use smallvec::SmallVec;
use smol_str::SmolStr;

use super::{
    AttributionView, Class, LimitName, OperationId, OrgId, RequestId, UserId, WorkspaceId,
    catalogue::{Kind, Scope},
    salesforce::{ApiUsage, errors::Trouble},
    time::{Mono, Wall},
};

/// A request to make calls, already checked against every bound of the contract.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who asks, as far as it is known: for attribution only.
    pub caller: Option<Arc<str>>,
    /// Who has proved to ask: nobody else can settle what is granted to them.
    /// `None` where no identity is configured.
    pub principal: Option<Arc<str>>,
    /// Who pays.
    pub workspace: Option<WorkspaceId>,
    /// What for.
    pub operation: OperationId,
    /// As whom; `None` lets the ledger choose one of the pool.
    pub user: Option<UserId>,
    /// The traffic class.
    pub class: Class,
    /// Calls wanted, 1 to 10,000.
    pub calls: u32,
    /// The fewest that are of use, 1 to `calls`.
    pub min_calls: u32,
    /// Units that a call takes of the org's total and the workspace's cap.
    pub cost: u32,
    /// The wanted life of the permit.
    pub ttl: Option<Duration>,
    /// Makes a repeat safe.
    pub request: Option<RequestKey>,
    /// How long the request may be parked.
    pub max_wait: Duration,
    /// Decide only.
    pub check_only: bool,
}

/// The scope and content of a request id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey {
    /// Who asks; empty while callers are not told apart.
    pub caller: Arc<str>,
    /// The caller's name for the request.
    pub id: RequestId,
    /// A digest of the rest of the request: the same id with another body is an
    /// error.
    pub digest: u64,
}

/// The ledger's random part of a permit id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PermitKey(pub u64);

/// The right to start calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permit {
    /// Its key; `None` for a check.
    pub key: Option<PermitKey>,
    /// The epoch in which it was granted.
    pub epoch: u64,
    /// How many calls.
    pub calls: u32,
    /// As whom.
    pub user: Option<UserId>,
    /// When it was decided.
    pub decided: Mono,
    /// Life left at that moment. The edge adds the time that the request has
    /// waited until then.
    pub life_left: Duration,
    /// The workspace's classes.
    pub class_state: Option<ClassState>,
    /// What was charged.
    pub limits: Limits,
    /// For a check: how it came to the decision, limit by limit.
    pub explanation: Vec<LimitExplanation>,
}

/// The limits that one request touches: an operation charges two to four. With room
/// for four a permit would take more than a kilobyte, of which an allocator has fewer
/// ready.
pub type Limits = SmallVec<[LimitUsage; 3]>;

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenialReason {
    /// A window of the execution user has no room.
    ExecutionUserLimit,
    /// The class's pause point binds, below the cap.
    WorkspaceClassPaused,
    /// The cap binds, or use has reached it.
    WorkspaceLimit,
    /// A window of the org has no room.
    OrgLimit,
    /// No slot is free.
    ConcurrencyLimit,
    /// Salesforce said stop.
    CoolingDown,
    /// Too many requests wait.
    QueueFull,
}

impl DenialReason {
    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ExecutionUserLimit => "execution_user_limit",
            Self::WorkspaceClassPaused => "workspace_class_paused",
            Self::WorkspaceLimit => "workspace_limit",
            Self::OrgLimit => "org_limit",
            Self::ConcurrencyLimit => "concurrency_limit",
            Self::CoolingDown => "cooling_down",
            Self::QueueFull => "queue_full",
        }
    }
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Why.
    pub reason: DenialReason,
    /// The limit that frees last; `None` only for `QueueFull`.
    pub limit: Option<LimitUsage>,
    /// All limits that the request touches.
    pub limits: Limits,
    /// When to try again; `None` where nobody can know or it can never be granted.
    pub retry_after: Option<Duration>,
    /// The place in the queue at which the wait ended, from 1; 0 if it did not wait.
    pub queue_position: u32,
    /// One sentence for people.
    pub message: String,
    /// The workspace's classes.
    pub class_state: Option<ClassState>,
    /// For a check: how it came to the decision, limit by limit.
    pub explanation: Vec<LimitExplanation>,
}

/// One limit as it bears on one ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitExplanation {
    /// The limit as it stands.
    pub usage: LimitUsage,
    /// Units that the ask's class may take now, after everything below; of a
    /// limit in shadow, what it would be.
    pub room: u64,
    /// Units that the fewest calls of use need.
    pub needed: u64,
    /// Units that requests ahead in the queue wait for.
    pub ahead: u64,
    /// Units that are kept for other workspaces.
    pub kept: u64,
    /// The use at which the class pauses; `None` where this limit does not pause
    /// classes.
    pub pauses_at: Option<u64>,
    /// This limit decides: it refuses the ask, or cuts it short.
    pub binding: bool,
    /// When there will be room for the fewest calls of use: zero where there is,
    /// `None` where nobody can know.
    pub opens_in: Option<Duration>,
    /// All of it as one sentence.
    pub text: String,
}

/// What became of an ask. It goes through many hands on its way to the wire: what is
/// large stays where it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Calls may be made.
    Granted(Box<Permit>),
    /// They may not, now.
    Denied(Box<Denial>),
    /// It could not be decided.
    Failed(AskError),
}

/// Why an ask could not be decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AskError {
    /// The catalogue has no such operation.
    UnknownOperation,
    /// The workspace is not declared, and undeclared ones are refused.
    UnknownWorkspace,
    /// The user is not declared, and undeclared ones are refused.
    UnknownUser,
    /// The operation charges a user, none was named, and the pool is empty.
    NoUser,
    /// The request id was used with another body.
    RequestIdReused,
    /// The store did not commit a block in time.
    StoreTimeout,
    /// This process may not grant for the org any more.
    NotOwner,
    /// More names than the service keeps for one org.
    TooManyNames,
    /// More permits are out than the service keeps for one org.
    TooManyPermits,
    /// Too many requests wait for the store.
    Overloaded,
}

/// One limit as it stands, in units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitUsage {
    /// The limit's name.
    pub name: LimitName,
    /// Window or slots.
    pub kind: Kind,
    /// Whose.
    pub scope: Scope,
    /// The org, workspace or user.
    pub identity: SmolStr,
    /// The most units in one window, or the slots.
    pub max: u64,
    /// Used through the service for the asking workspace, or for all.
    pub used_by_caller: u64,
    /// The rest of the counter.
    pub used_by_others: u64,
    /// What other integrations use, an estimate; part of `used_by_others`.
    pub foreign: u64,
    /// Set aside and unspent.
    pub held: u64,
    /// Kept for foreign traffic.
    pub reserved: u64,
    /// Units of `max` that are never granted here: clients may use them while the
    /// service cannot be reached. Of a limit in shadow, what it would be.
    pub outage_share: u64,
    /// `max` less both uses and `held`.
    pub remaining: u64,
    /// The window's length.
    pub window: Duration,
    /// Salesforce's figures are older than ten minutes.
    pub stale: bool,
    /// In shadow: it refuses nothing, and would have refused so many grants since
    /// this process counts for the org. `None` where it is enforced.
    pub shadow: Option<u64>,
    /// It cools down: nothing more is granted before then.
    pub cooling_until: Option<Mono>,
    /// Units an hour, of late; only where an org's usage is shown, else 0.
    pub burn_per_hour: u64,
    /// When nothing is left of it if that goes on, by what is counted now;
    /// `None` if it is not going to be so, or not known.
    pub exhausted_at: Option<Mono>,
    /// Where nothing is left of a window: when a unit of it leaves. `None` if there
    /// is room now, or nobody can know.
    pub opens_at: Option<Mono>,
}

/// One class of a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassStatus {
    /// The class.
    pub class: Class,
    /// Whether it is paused.
    pub paused: bool,
    /// Since when; `None` if it has not changed in this process.
    pub since: Option<Mono>,
    /// Percent of the cap.
    pub pauses_at_percent: u32,
    /// Percent of the cap.
    pub resumes_below_percent: u32,
}

/// What a workspace is warned of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// Use has reached 80 % of the cap; a sentence for people.
    ApproachingLimit(String),
    /// Use has reached the cap; a sentence for people.
    LimitReached(String),
}

/// The classes of a workspace that has a cap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassState {
    /// One per class that can pause.
    pub classes: SmallVec<[ClassStatus; 3]>,
    /// At most one of each kind.
    pub warnings: Vec<Warning>,
}

/// What Salesforce answered, as a client reports it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The first call, counted from 0.
    pub first_call: u32,
    /// How many, at least 1.
    pub calls: u32,
    /// The HTTP status; 0 if no answer came.
    pub http_status: u16,
    /// Time since the answer, by the client's monotonic clock.
    pub completed_ago: Duration,
    /// The reading that the answer carried, if any.
    pub reading: Option<Reading>,
    /// What the answer said, if it was no success and had to do with limits.
    pub trouble: Option<Trouble>,
    /// As whom the call was made; needed only where no permit says it.
    pub user: Option<UserId>,
    /// What the call was for; likewise.
    pub operation: Option<OperationId>,
}

impl Report {
    /// True where the answer proves that the call has arrived and is over: the
    /// status is 100 to 499. No answer, or a 5xx, may mean that bytes still
    /// travel.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        matches!(self.http_status, 100..=499)
    }
}

/// Who tells what became of calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Teller {
    /// Who has proved to tell it; `None` where no identity is configured.
    pub principal: Option<Arc<str>>,
    /// What they tell of Salesforce moves the numbers of others. Of anybody else
    /// only that calls of their own permits are over is taken.
    pub believed: bool,
}

impl Teller {
    /// Where no identity is configured everybody is believed.
    #[must_use]
    pub const fn anybody() -> Self {
        Self { principal: None, believed: true }
    }

    /// True unless what is held is known to be somebody else's. What was granted
    /// while nobody was asked for a name is anybody's, and everybody may do
    /// everything where nobody is.
    #[must_use]
    pub fn may_settle_of(&self, holder: Option<&Arc<str>>) -> bool {
        match (&self.principal, holder) {
            (Some(teller), Some(holder)) => teller == holder,
            (None, _) | (_, None) => true,
        }
    }
}

/// The permit is held by another principal than the one who tells of it: nothing
/// was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PermitOfAnother;

/// What Salesforce's header said about the org's total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Used and limit.
    pub usage: ApiUsage,
    /// The answer's Date, where the client gave it.
    pub answer_time: Option<Wall>,
}

/// A reading that was taken over, and what was known of our own use at its
/// moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenReading {
    /// The moment that it speaks of.
    pub as_of: Mono,
    /// Used and limit, as Salesforce counts them.
    pub usage: ApiUsage,
    /// Our own units in `usage.used`.
    pub own: u64,
    /// Who told of it; `None` where no identity is configured.
    pub told_by: Option<Arc<str>>,
}

impl SeenReading {
    /// What others used at that moment, in units.
    #[must_use]
    pub const fn foreign(&self) -> u64 {
        self.usage.used.saturating_sub(self.own)
    }
}

/// What became of a report.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reported {
    /// The range held nothing new.
    pub already_settled: bool,
    /// The classes of the permit's workspace.
    pub class_state: Option<ClassState>,
    /// What the caller should do next.
    pub advice: Advice,
}

/// What a caller should do after an answer of Salesforce's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Advice {
    /// Go on.
    #[default]
    Continue,
    /// Make no such call before this time has passed.
    BackOff(Duration),
    /// Do not try again: somebody must mend something first.
    Stop,
}

/// What became of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Released {
    /// Calls came back, or the first answer is repeated.
    Returned {
        /// Calls returned by the first release.
        calls: u32,
        /// This request changed nothing.
        already_settled: bool,
    },
    /// Without a number, after a report.
    NumberNeeded,
}

/// The org's total in 24 hours at a glance, in units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct OrgGlance {
    /// The limit in force.
    pub limit: u64,
    /// What went through quotagate.
    pub used: u64,
    /// The estimate of what others use.
    pub foreign: u64,
    /// Set aside and not spent: open blocks, and what crashes lost.
    pub held: u64,
    /// How old Salesforce's newest figure is; `None` if there was none.
    pub reading_age: Option<Duration>,
    /// What others use by the newest figure, less what they used by the one
    /// before: their work between both, or the drift between Salesforce's count
    /// and ours. `None` before the second.
    pub drift: Option<i64>,
}

impl OrgGlance {
    /// What is used and held, in parts of a million of the limit.
    #[must_use]
    pub fn used_in_a_million(&self) -> u64 {
        let taken = [self.used, self.foreign, self.held].map(u128::from).iter().sum::<u128>();
        let parts = (taken * 1_000_000).checked_div(u128::from(self.limit)).unwrap_or(u128::MAX);
        u64::try_from(parts).unwrap_or(u64::MAX)
    }
}

/// One org in a line: what is shown of thousands of orgs at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgLine {
    /// The org.
    pub org: OrgId,
    /// Its total, and until when it lasts.
    pub total: LimitUsage,
    /// Workspaces that are declared or have use.
    pub workspaces: u32,
    /// Those of them that have a class paused, in the order of
    /// [`Class::PAUSABLE`].
    pub paused: [u32; 3],
    /// Those of them that have reached their cap.
    pub at_limit: u32,
    /// The one that has used most of its cap, in whole percent; `None` where none
    /// has a cap.
    pub fullest: Option<(WorkspaceId, u32)>,
    /// Requests that wait.
    pub waiting: u32,
    /// What cools down, if anything does.
    pub cooling: Option<CoolingLine>,
}

/// That some limits of an org cool down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoolingLine {
    /// When the first of them is tried again, or opens by itself.
    pub until: Mono,
    /// The widest scope among them.
    pub scope: Scope,
    /// One of them is the org's total.
    pub total: bool,
    /// How many.
    pub limits: u32,
}

/// Everything that is counted for one org.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgUsage {
    /// The org.
    pub org: OrgId,
    /// The org's own limits: its total first.
    pub limits: Vec<LimitUsage>,
    /// Workspaces that are declared or have use, by name.
    pub workspaces: Vec<WorkspaceUsage>,
    /// Users that are declared or have use, by id.
    pub users: Vec<UserUsage>,
    /// Requests that wait.
    pub waiting: u32,
    /// Permits that are out.
    pub permits_out: u32,
    /// When the last reading was taken over, if one was.
    pub last_reading: Option<Mono>,
    /// What an operator should know, as sentences.
    pub warnings: Vec<String>,
    /// Counters that cool down, the org's first.
    pub cooling: Vec<CoolingUsage>,
    /// Who used it; only where it is asked for.
    pub attribution: Option<AttributionView>,
    /// Who waits; `None` in a change that does not concern it.
    pub queue: Option<QueueUsage>,
    /// The last readings, newest first, at most 10. The first is what the
    /// estimate of foreign use stands on.
    pub readings: Vec<SeenReading>,
}

/// A counter that Salesforce has told to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoolingUsage {
    /// Whose.
    pub scope: Scope,
    /// The org or user.
    pub identity: SmolStr,
    /// The limit's name.
    pub limit: LimitName,
    /// What Salesforce said.
    pub cause: CoolingCause,
    /// Since when the counter is closed.
    pub since: Mono,
    /// When the next probe goes, or when it opens by itself.
    pub until: Mono,
    /// How often Salesforce has said so since.
    pub attempts: u32,
    /// One call is out to see whether it still holds.
    pub probe_out: bool,
}

/// Why a counter cools down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CoolingCause {
    /// 429 on a user's operation: others use the same user.
    Throttled,
    /// A limit of requests whose name Salesforce did not say.
    LimitExceeded,
    /// Too many long-running requests at the same time.
    ConcurrencyExceeded,
    /// Too many logins.
    LoginsExceeded,
    /// A counter of its own, such as the Bulk API's.
    CounterExceeded,
    /// The org's total is used up.
    TotalExceeded,
}

impl CoolingCause {
    /// All.
    pub const ALL: [Self; 6] = [
        Self::Throttled,
        Self::LimitExceeded,
        Self::ConcurrencyExceeded,
        Self::LoginsExceeded,
        Self::CounterExceeded,
        Self::TotalExceeded,
    ];

    /// The name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::LimitExceeded => "limit_exceeded",
            Self::ConcurrencyExceeded => "concurrency_exceeded",
            Self::LoginsExceeded => "logins_exceeded",
            Self::CounterExceeded => "counter_exceeded",
            Self::TotalExceeded => "total_exceeded",
        }
    }
}

/// Who waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueUsage {
    /// How many, by class, in the order of service.
    pub by_class: [u32; 4],
    /// The first of them, in order.
    pub first: Vec<Queued>,
}

/// One request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// Its place among those that wait for the same, from 1, by what is known
    /// now.
    pub place: u32,
    /// Who pays, if anybody was named.
    pub workspace: Option<WorkspaceId>,
    /// What for.
    pub operation: OperationId,
    /// Its traffic class.
    pub class: Class,
    /// Calls wanted.
    pub calls: u32,
    /// The execution user, if one was named.
    pub user: Option<UserId>,
    /// Since when it waits.
    pub since: Mono,
    /// When its turn will come; `None` where nobody can know.
    pub due: Option<Mono>,
    /// The limit that it waits for; `None` if only for the store.
    pub limit: Option<WaitsFor>,
}

/// The limit that a request waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitsFor {
    /// The limit's name.
    pub name: LimitName,
    /// Window or slots.
    pub kind: Kind,
    /// Whose.
    pub scope: Scope,
    /// The org, workspace or user.
    pub identity: SmolStr,
}

/// One workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceUsage {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// Its own limits, then its share of the org's total.
    pub limits: Vec<LimitUsage>,
    /// Its classes; `None` where it has no cap.
    pub class_state: Option<ClassState>,
    /// Its share where workspaces contend.
    pub weight: u32,
    /// Units of the org's total that are guaranteed to it; 0 is none.
    pub guaranteed_calls: u64,
    /// When its classes that run now will pause, if it goes on as of late.
    pub pauses: Vec<(Class, Mono)>,
}

/// One execution user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserUsage {
    /// The user.
    pub user: UserId,
    /// Its limits.
    pub limits: Vec<LimitUsage>,
    /// Whether it belongs to the pool.
    pub in_pool: bool,
    /// Salesforce refused calls of this user that the service had counted room
    /// for: somebody else makes calls as the same user.
    pub foreign_traffic: bool,
}

/// One change of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Counts the transitions of the org from 1.
    pub number: u64,
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The class after the change.
    pub status: ClassStatus,
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownOperation => "the catalogue has no such operation",
            Self::UnknownWorkspace => "the workspace is not declared",
            Self::UnknownUser => "the execution user is not declared",
            Self::NoUser => "the operation charges an execution user, and the org's pool is empty",
            Self::RequestIdReused => "the request id was used with another body",
            Self::StoreTimeout => "the store did not commit in time",
            Self::NotOwner => "this node does not own the org",
            Self::TooManyNames => "the org has more names than are kept",
            Self::TooManyPermits => "the org has more permits out than are kept",
            Self::Overloaded => "too many requests wait for the store",
        })
    }
}

impl std::error::Error for AskError {}
