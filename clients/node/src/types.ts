/** Who waits for a call, from the class that pauses first to the one that never does. */
export type TrafficClass = "bulk" | "event" | "interactive" | "control";

/** What stopped a request. */
export type DenialReason =
  | "EXECUTION_USER_LIMIT"
  | "WORKSPACE_CLASS_PAUSED"
  | "WORKSPACE_LIMIT"
  | "ORG_LIMIT"
  | "CONCURRENCY_LIMIT"
  | "COOLING_DOWN"
  | "QUEUE_FULL";

/** One limit as it stands, in units. */
export interface LimitUsage {
  /** The limit's name in the catalogue. */
  readonly name: string;
  /** At most `max` units in every interval of `windowMs`, or at most `max` calls at the same time. */
  readonly kind: "window" | "concurrency";
  /** Whose limit it is. */
  readonly scope: "org" | "workspace" | "execution_user";
  /** The org, workspace or execution user. */
  readonly identity: string;
  /** 0 for a workspace that has no cap. */
  readonly max: number;
  readonly usedByCaller: number;
  /** Other workspaces, and `foreign`. */
  readonly usedByOthers: number;
  /** The estimate of what other integrations use. */
  readonly foreign: number;
  /** Set aside and unspent. */
  readonly held: number;
  /** Kept for foreign traffic. */
  readonly reserved: number;
  /** What is left, before `reserved` is taken off. */
  readonly remaining: number;
  /** The window's length; for slots, the longest time a call may hold one. */
  readonly windowMs: number;
  /** Salesforce's own figures are older than 10 minutes. */
  readonly stale: boolean;
  /** Units of `max` that the service never grants: the clients' own, in an outage. */
  readonly outageShare: number;
  /** It is counted, and refuses nothing: it is tried before it is enforced. */
  readonly shadow: boolean;
}

/** The traffic classes of a workspace, and its warnings. */
export interface ClassState {
  readonly classes: readonly {
    readonly trafficClass: TrafficClass;
    readonly paused: boolean;
    readonly pausesAtPercent: number;
    readonly resumesBelowPercent: number;
  }[];
  readonly warnings: readonly {
    readonly kind: "APPROACHING_LIMIT" | "LIMIT_REACHED";
    readonly text: string;
  }[];
}

/** One org's usage. */
export interface OrgUsage {
  readonly org: string;
  /** Its total first, then its other windows and slots. */
  readonly limits: readonly LimitUsage[];
  readonly workspaces: readonly {
    readonly workspace: string;
    readonly limits: readonly LimitUsage[];
    readonly classState: ClassState;
  }[];
  readonly executionUsers: readonly {
    readonly executionUser: string;
    readonly limits: readonly LimitUsage[];
    readonly inPool: boolean;
  }[];
  /** Requests that wait for room. */
  readonly waiting: number;
  /** Permits that are out. */
  readonly permitsOut: number;
  readonly warnings: readonly string[];
}

/** What to ask for. */
export interface AcquireOptions {
  /** The Salesforce org. */
  readonly org: string;
  /** The operation of the service's catalogue, for example `conversation-entries.get`. */
  readonly operation: string;
  /** The customer's workspace that pays. */
  readonly workspace?: string | undefined;
  /** The Salesforce user that makes the call; absent lets the service choose one of the org's pool. */
  readonly executionUser?: string | undefined;
  /** Default: `event`. */
  readonly trafficClass?: TrafficClass | undefined;
  /** How many calls, 1 to 10,000. Default: 1. */
  readonly calls?: number | undefined;
  /** The fewest calls that are of use. Default: `calls`, all or nothing. */
  readonly minCalls?: number | undefined;
  /** Quota units that one call takes of the org's total and of the workspace's cap. Default: 1. */
  readonly cost?: number | undefined;
  /** How long to wait for room, at most 10 minutes. Default: not at all. */
  readonly maxWaitMs?: number | undefined;
  /** How long the permit is to live; absent takes the default of the limits. */
  readonly permitTtlMs?: number | undefined;
  /** Unique per caller and org. Default: a UUID, the same for all tries of this request. */
  readonly requestId?: string | undefined;
  /** Gives up waiting when it fires. */
  readonly signal?: AbortSignal | undefined;
}

/** What Salesforce answered to a call. */
export interface Answer {
  /** The HTTP status; 0 if no answer came: the call may have been made. */
  readonly status: number;
  /** The raw values of `Sforce-Limit-Info`. */
  readonly limitInfo?: readonly string[] | undefined;
  /** `Retry-After`. */
  readonly retryAfterMs?: number | undefined;
  /** `Date`. */
  readonly answerTime?: Date | undefined;
  /** Salesforce's `errorCode`. */
  readonly errorCode?: string | undefined;
  /** Salesforce's message, or the beginning of a body that has none. */
  readonly errorMessage?: string | undefined;
  /** When the answer came, by `performance.now()`. Default: now. */
  readonly receivedAt?: number | undefined;
}

/** What became of a report. */
export interface Settlement {
  /**
   * False if the service could not be told within the permit's life. The call
   * then counts as used for the longest time it may.
   */
  readonly delivered: boolean;
  /** The report held nothing new. */
  readonly alreadySettled: boolean;
  /** What to do next; `stop`: do not retry, somebody must mend something first. */
  readonly advice: "continue" | "back_off" | "stop";
  /** How long, for `back_off`. */
  readonly backOffMs?: number | undefined;
  /** The traffic classes of the permit's workspace, where it had one. */
  readonly classState?: ClassState | undefined;
}
