import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TrafficClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRAFFIC_CLASS_UNSPECIFIED: _ClassVar[TrafficClass]
    TRAFFIC_CLASS_BULK: _ClassVar[TrafficClass]
    TRAFFIC_CLASS_EVENT: _ClassVar[TrafficClass]
    TRAFFIC_CLASS_INTERACTIVE: _ClassVar[TrafficClass]
    TRAFFIC_CLASS_CONTROL: _ClassVar[TrafficClass]

class AcquireMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ACQUIRE_MODE_UNSPECIFIED: _ClassVar[AcquireMode]
    ACQUIRE_MODE_ENFORCE: _ClassVar[AcquireMode]
    ACQUIRE_MODE_CHECK_ONLY: _ClassVar[AcquireMode]

class DenialReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DENIAL_REASON_UNSPECIFIED: _ClassVar[DenialReason]
    DENIAL_REASON_EXECUTION_USER_LIMIT: _ClassVar[DenialReason]
    DENIAL_REASON_WORKSPACE_CLASS_PAUSED: _ClassVar[DenialReason]
    DENIAL_REASON_WORKSPACE_LIMIT: _ClassVar[DenialReason]
    DENIAL_REASON_ORG_LIMIT: _ClassVar[DenialReason]
    DENIAL_REASON_CONCURRENCY_LIMIT: _ClassVar[DenialReason]
    DENIAL_REASON_COOLING_DOWN: _ClassVar[DenialReason]
    DENIAL_REASON_QUEUE_FULL: _ClassVar[DenialReason]

class LimitKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LIMIT_KIND_UNSPECIFIED: _ClassVar[LimitKind]
    LIMIT_KIND_WINDOW: _ClassVar[LimitKind]
    LIMIT_KIND_CONCURRENCY: _ClassVar[LimitKind]

class LimitScope(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LIMIT_SCOPE_UNSPECIFIED: _ClassVar[LimitScope]
    LIMIT_SCOPE_ORG: _ClassVar[LimitScope]
    LIMIT_SCOPE_WORKSPACE: _ClassVar[LimitScope]
    LIMIT_SCOPE_EXECUTION_USER: _ClassVar[LimitScope]

class ClassRunState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CLASS_RUN_STATE_UNSPECIFIED: _ClassVar[ClassRunState]
    CLASS_RUN_STATE_RUNNING: _ClassVar[ClassRunState]
    CLASS_RUN_STATE_PAUSED: _ClassVar[ClassRunState]

class WarningKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WARNING_KIND_UNSPECIFIED: _ClassVar[WarningKind]
    WARNING_KIND_APPROACHING_LIMIT: _ClassVar[WarningKind]
    WARNING_KIND_LIMIT_REACHED: _ClassVar[WarningKind]

class Advice(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ADVICE_UNSPECIFIED: _ClassVar[Advice]
    ADVICE_CONTINUE: _ClassVar[Advice]
    ADVICE_BACK_OFF: _ClassVar[Advice]
    ADVICE_STOP: _ClassVar[Advice]

class CoolingCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COOLING_CAUSE_UNSPECIFIED: _ClassVar[CoolingCause]
    COOLING_CAUSE_THROTTLED: _ClassVar[CoolingCause]
    COOLING_CAUSE_LIMIT_EXCEEDED: _ClassVar[CoolingCause]
    COOLING_CAUSE_CONCURRENCY_EXCEEDED: _ClassVar[CoolingCause]
    COOLING_CAUSE_LOGINS_EXCEEDED: _ClassVar[CoolingCause]
    COOLING_CAUSE_COUNTER_EXCEEDED: _ClassVar[CoolingCause]
    COOLING_CAUSE_TOTAL_EXCEEDED: _ClassVar[CoolingCause]

class AttributionDimension(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ATTRIBUTION_DIMENSION_UNSPECIFIED: _ClassVar[AttributionDimension]
    ATTRIBUTION_DIMENSION_WORKSPACE: _ClassVar[AttributionDimension]
    ATTRIBUTION_DIMENSION_TRAFFIC_CLASS: _ClassVar[AttributionDimension]
    ATTRIBUTION_DIMENSION_OPERATION: _ClassVar[AttributionDimension]
    ATTRIBUTION_DIMENSION_EXECUTION_USER: _ClassVar[AttributionDimension]
    ATTRIBUTION_DIMENSION_CALLER: _ClassVar[AttributionDimension]

class UsageOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    USAGE_ORDER_UNSPECIFIED: _ClassVar[UsageOrder]
    USAGE_ORDER_TROUBLE: _ClassVar[UsageOrder]
    USAGE_ORDER_USED: _ClassVar[UsageOrder]
    USAGE_ORDER_EXHAUSTED: _ClassVar[UsageOrder]
    USAGE_ORDER_NAME: _ClassVar[UsageOrder]

class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SEVERITY_UNSPECIFIED: _ClassVar[Severity]
    SEVERITY_FINE: _ClassVar[Severity]
    SEVERITY_NOTICE: _ClassVar[Severity]
    SEVERITY_WARNING: _ClassVar[Severity]
    SEVERITY_CRITICAL: _ClassVar[Severity]
    SEVERITY_UNKNOWN: _ClassVar[Severity]
TRAFFIC_CLASS_UNSPECIFIED: TrafficClass
TRAFFIC_CLASS_BULK: TrafficClass
TRAFFIC_CLASS_EVENT: TrafficClass
TRAFFIC_CLASS_INTERACTIVE: TrafficClass
TRAFFIC_CLASS_CONTROL: TrafficClass
ACQUIRE_MODE_UNSPECIFIED: AcquireMode
ACQUIRE_MODE_ENFORCE: AcquireMode
ACQUIRE_MODE_CHECK_ONLY: AcquireMode
DENIAL_REASON_UNSPECIFIED: DenialReason
DENIAL_REASON_EXECUTION_USER_LIMIT: DenialReason
DENIAL_REASON_WORKSPACE_CLASS_PAUSED: DenialReason
DENIAL_REASON_WORKSPACE_LIMIT: DenialReason
DENIAL_REASON_ORG_LIMIT: DenialReason
DENIAL_REASON_CONCURRENCY_LIMIT: DenialReason
DENIAL_REASON_COOLING_DOWN: DenialReason
DENIAL_REASON_QUEUE_FULL: DenialReason
LIMIT_KIND_UNSPECIFIED: LimitKind
LIMIT_KIND_WINDOW: LimitKind
LIMIT_KIND_CONCURRENCY: LimitKind
LIMIT_SCOPE_UNSPECIFIED: LimitScope
LIMIT_SCOPE_ORG: LimitScope
LIMIT_SCOPE_WORKSPACE: LimitScope
LIMIT_SCOPE_EXECUTION_USER: LimitScope
CLASS_RUN_STATE_UNSPECIFIED: ClassRunState
CLASS_RUN_STATE_RUNNING: ClassRunState
CLASS_RUN_STATE_PAUSED: ClassRunState
WARNING_KIND_UNSPECIFIED: WarningKind
WARNING_KIND_APPROACHING_LIMIT: WarningKind
WARNING_KIND_LIMIT_REACHED: WarningKind
ADVICE_UNSPECIFIED: Advice
ADVICE_CONTINUE: Advice
ADVICE_BACK_OFF: Advice
ADVICE_STOP: Advice
COOLING_CAUSE_UNSPECIFIED: CoolingCause
COOLING_CAUSE_THROTTLED: CoolingCause
COOLING_CAUSE_LIMIT_EXCEEDED: CoolingCause
COOLING_CAUSE_CONCURRENCY_EXCEEDED: CoolingCause
COOLING_CAUSE_LOGINS_EXCEEDED: CoolingCause
COOLING_CAUSE_COUNTER_EXCEEDED: CoolingCause
COOLING_CAUSE_TOTAL_EXCEEDED: CoolingCause
ATTRIBUTION_DIMENSION_UNSPECIFIED: AttributionDimension
ATTRIBUTION_DIMENSION_WORKSPACE: AttributionDimension
ATTRIBUTION_DIMENSION_TRAFFIC_CLASS: AttributionDimension
ATTRIBUTION_DIMENSION_OPERATION: AttributionDimension
ATTRIBUTION_DIMENSION_EXECUTION_USER: AttributionDimension
ATTRIBUTION_DIMENSION_CALLER: AttributionDimension
USAGE_ORDER_UNSPECIFIED: UsageOrder
USAGE_ORDER_TROUBLE: UsageOrder
USAGE_ORDER_USED: UsageOrder
USAGE_ORDER_EXHAUSTED: UsageOrder
USAGE_ORDER_NAME: UsageOrder
SEVERITY_UNSPECIFIED: Severity
SEVERITY_FINE: Severity
SEVERITY_NOTICE: Severity
SEVERITY_WARNING: Severity
SEVERITY_CRITICAL: Severity
SEVERITY_UNKNOWN: Severity

class AcquireRequest(_message.Message):
    __slots__ = ("org", "workspace", "operation", "execution_user", "traffic_class", "calls", "min_calls", "cost", "max_wait", "permit_ttl", "request_id", "mode")
    ORG_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_USER_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_CLASS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    MIN_CALLS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    MAX_WAIT_FIELD_NUMBER: _ClassVar[int]
    PERMIT_TTL_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    org: str
    workspace: str
    operation: str
    execution_user: str
    traffic_class: TrafficClass
    calls: int
    min_calls: int
    cost: int
    max_wait: _duration_pb2.Duration
    permit_ttl: _duration_pb2.Duration
    request_id: str
    mode: AcquireMode
    def __init__(self, org: _Optional[str] = ..., workspace: _Optional[str] = ..., operation: _Optional[str] = ..., execution_user: _Optional[str] = ..., traffic_class: _Optional[_Union[TrafficClass, str]] = ..., calls: _Optional[int] = ..., min_calls: _Optional[int] = ..., cost: _Optional[int] = ..., max_wait: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., permit_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., request_id: _Optional[str] = ..., mode: _Optional[_Union[AcquireMode, str]] = ...) -> None: ...

class AcquireResponse(_message.Message):
    __slots__ = ("permit", "denial")
    PERMIT_FIELD_NUMBER: _ClassVar[int]
    DENIAL_FIELD_NUMBER: _ClassVar[int]
    permit: Permit
    denial: Denial
    def __init__(self, permit: _Optional[_Union[Permit, _Mapping]] = ..., denial: _Optional[_Union[Denial, _Mapping]] = ...) -> None: ...

class Permit(_message.Message):
    __slots__ = ("permit_id", "calls", "execution_user", "ttl", "class_state", "limits", "explanation")
    PERMIT_ID_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_USER_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    CLASS_STATE_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    permit_id: str
    calls: int
    execution_user: str
    ttl: _duration_pb2.Duration
    class_state: ClassState
    limits: _containers.RepeatedCompositeFieldContainer[LimitUsage]
    explanation: _containers.RepeatedCompositeFieldContainer[LimitExplanation]
    def __init__(self, permit_id: _Optional[str] = ..., calls: _Optional[int] = ..., execution_user: _Optional[str] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., class_state: _Optional[_Union[ClassState, _Mapping]] = ..., limits: _Optional[_Iterable[_Union[LimitUsage, _Mapping]]] = ..., explanation: _Optional[_Iterable[_Union[LimitExplanation, _Mapping]]] = ...) -> None: ...

class Denial(_message.Message):
    __slots__ = ("reason", "limit", "limits", "retry_after", "queue_position", "message", "class_state", "explanation")
    REASON_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    QUEUE_POSITION_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CLASS_STATE_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    reason: DenialReason
    limit: LimitUsage
    limits: _containers.RepeatedCompositeFieldContainer[LimitUsage]
    retry_after: _duration_pb2.Duration
    queue_position: int
    message: str
    class_state: ClassState
    explanation: _containers.RepeatedCompositeFieldContainer[LimitExplanation]
    def __init__(self, reason: _Optional[_Union[DenialReason, str]] = ..., limit: _Optional[_Union[LimitUsage, _Mapping]] = ..., limits: _Optional[_Iterable[_Union[LimitUsage, _Mapping]]] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., queue_position: _Optional[int] = ..., message: _Optional[str] = ..., class_state: _Optional[_Union[ClassState, _Mapping]] = ..., explanation: _Optional[_Iterable[_Union[LimitExplanation, _Mapping]]] = ...) -> None: ...

class LimitExplanation(_message.Message):
    __slots__ = ("usage", "room", "needed", "ahead", "kept_for_workspaces", "pauses_at", "binding", "opens_in", "text")
    USAGE_FIELD_NUMBER: _ClassVar[int]
    ROOM_FIELD_NUMBER: _ClassVar[int]
    NEEDED_FIELD_NUMBER: _ClassVar[int]
    AHEAD_FIELD_NUMBER: _ClassVar[int]
    KEPT_FOR_WORKSPACES_FIELD_NUMBER: _ClassVar[int]
    PAUSES_AT_FIELD_NUMBER: _ClassVar[int]
    BINDING_FIELD_NUMBER: _ClassVar[int]
    OPENS_IN_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    usage: LimitUsage
    room: int
    needed: int
    ahead: int
    kept_for_workspaces: int
    pauses_at: int
    binding: bool
    opens_in: _duration_pb2.Duration
    text: str
    def __init__(self, usage: _Optional[_Union[LimitUsage, _Mapping]] = ..., room: _Optional[int] = ..., needed: _Optional[int] = ..., ahead: _Optional[int] = ..., kept_for_workspaces: _Optional[int] = ..., pauses_at: _Optional[int] = ..., binding: bool = ..., opens_in: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., text: _Optional[str] = ...) -> None: ...

class LimitUsage(_message.Message):
    __slots__ = ("name", "kind", "scope", "identity", "max", "used_by_caller", "used_by_others", "foreign", "held", "reserved", "remaining", "window", "stale", "burn_per_hour", "exhausted_in", "shadow", "cooling_until", "outage_share", "opens_in")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    USED_BY_CALLER_FIELD_NUMBER: _ClassVar[int]
    USED_BY_OTHERS_FIELD_NUMBER: _ClassVar[int]
    FOREIGN_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    REMAINING_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    BURN_PER_HOUR_FIELD_NUMBER: _ClassVar[int]
    EXHAUSTED_IN_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    COOLING_UNTIL_FIELD_NUMBER: _ClassVar[int]
    OUTAGE_SHARE_FIELD_NUMBER: _ClassVar[int]
    OPENS_IN_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: LimitKind
    scope: LimitScope
    identity: str
    max: int
    used_by_caller: int
    used_by_others: int
    foreign: int
    held: int
    reserved: int
    remaining: int
    window: _duration_pb2.Duration
    stale: bool
    burn_per_hour: int
    exhausted_in: _duration_pb2.Duration
    shadow: Shadow
    cooling_until: _timestamp_pb2.Timestamp
    outage_share: int
    opens_in: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[LimitKind, str]] = ..., scope: _Optional[_Union[LimitScope, str]] = ..., identity: _Optional[str] = ..., max: _Optional[int] = ..., used_by_caller: _Optional[int] = ..., used_by_others: _Optional[int] = ..., foreign: _Optional[int] = ..., held: _Optional[int] = ..., reserved: _Optional[int] = ..., remaining: _Optional[int] = ..., window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., stale: bool = ..., burn_per_hour: _Optional[int] = ..., exhausted_in: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., shadow: _Optional[_Union[Shadow, _Mapping]] = ..., cooling_until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., outage_share: _Optional[int] = ..., opens_in: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Shadow(_message.Message):
    __slots__ = ("would_have_refused",)
    WOULD_HAVE_REFUSED_FIELD_NUMBER: _ClassVar[int]
    would_have_refused: int
    def __init__(self, would_have_refused: _Optional[int] = ...) -> None: ...

class ClassStatus(_message.Message):
    __slots__ = ("traffic_class", "state", "since", "pauses_at_percent", "resumes_below_percent")
    TRAFFIC_CLASS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    PAUSES_AT_PERCENT_FIELD_NUMBER: _ClassVar[int]
    RESUMES_BELOW_PERCENT_FIELD_NUMBER: _ClassVar[int]
    traffic_class: TrafficClass
    state: ClassRunState
    since: _timestamp_pb2.Timestamp
    pauses_at_percent: int
    resumes_below_percent: int
    def __init__(self, traffic_class: _Optional[_Union[TrafficClass, str]] = ..., state: _Optional[_Union[ClassRunState, str]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., pauses_at_percent: _Optional[int] = ..., resumes_below_percent: _Optional[int] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ("kind", "text")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    kind: WarningKind
    text: str
    def __init__(self, kind: _Optional[_Union[WarningKind, str]] = ..., text: _Optional[str] = ...) -> None: ...

class ClassState(_message.Message):
    __slots__ = ("classes", "warnings")
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    classes: _containers.RepeatedCompositeFieldContainer[ClassStatus]
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    def __init__(self, classes: _Optional[_Iterable[_Union[ClassStatus, _Mapping]]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("permit_id", "unused_calls")
    PERMIT_ID_FIELD_NUMBER: _ClassVar[int]
    UNUSED_CALLS_FIELD_NUMBER: _ClassVar[int]
    permit_id: str
    unused_calls: int
    def __init__(self, permit_id: _Optional[str] = ..., unused_calls: _Optional[int] = ...) -> None: ...

class ReleaseResponse(_message.Message):
    __slots__ = ("returned_calls", "already_settled")
    RETURNED_CALLS_FIELD_NUMBER: _ClassVar[int]
    ALREADY_SETTLED_FIELD_NUMBER: _ClassVar[int]
    returned_calls: int
    already_settled: bool
    def __init__(self, returned_calls: _Optional[int] = ..., already_settled: bool = ...) -> None: ...

class ReportRequest(_message.Message):
    __slots__ = ("permit_id", "org", "execution_user", "operation", "first_call", "calls", "http_status", "error_code", "error_message", "retry_after", "limit_info", "answer_time", "completed_ago")
    PERMIT_ID_FIELD_NUMBER: _ClassVar[int]
    ORG_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_USER_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    FIRST_CALL_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    HTTP_STATUS_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_INFO_FIELD_NUMBER: _ClassVar[int]
    ANSWER_TIME_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_AGO_FIELD_NUMBER: _ClassVar[int]
    permit_id: str
    org: str
    execution_user: str
    operation: str
    first_call: int
    calls: int
    http_status: int
    error_code: str
    error_message: str
    retry_after: _duration_pb2.Duration
    limit_info: _containers.RepeatedScalarFieldContainer[str]
    answer_time: _timestamp_pb2.Timestamp
    completed_ago: _duration_pb2.Duration
    def __init__(self, permit_id: _Optional[str] = ..., org: _Optional[str] = ..., execution_user: _Optional[str] = ..., operation: _Optional[str] = ..., first_call: _Optional[int] = ..., calls: _Optional[int] = ..., http_status: _Optional[int] = ..., error_code: _Optional[str] = ..., error_message: _Optional[str] = ..., retry_after: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., limit_info: _Optional[_Iterable[str]] = ..., answer_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., completed_ago: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ReportResponse(_message.Message):
    __slots__ = ("already_settled", "class_state", "advice", "back_off")
    ALREADY_SETTLED_FIELD_NUMBER: _ClassVar[int]
    CLASS_STATE_FIELD_NUMBER: _ClassVar[int]
    ADVICE_FIELD_NUMBER: _ClassVar[int]
    BACK_OFF_FIELD_NUMBER: _ClassVar[int]
    already_settled: bool
    class_state: ClassState
    advice: Advice
    back_off: _duration_pb2.Duration
    def __init__(self, already_settled: bool = ..., class_state: _Optional[_Union[ClassState, _Mapping]] = ..., advice: _Optional[_Union[Advice, str]] = ..., back_off: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetUsageRequest(_message.Message):
    __slots__ = ("org",)
    ORG_FIELD_NUMBER: _ClassVar[int]
    org: str
    def __init__(self, org: _Optional[str] = ...) -> None: ...

class GetUsageResponse(_message.Message):
    __slots__ = ("usage",)
    USAGE_FIELD_NUMBER: _ClassVar[int]
    usage: OrgUsage
    def __init__(self, usage: _Optional[_Union[OrgUsage, _Mapping]] = ...) -> None: ...

class OrgUsage(_message.Message):
    __slots__ = ("org", "as_of", "limits", "workspaces", "execution_users", "waiting", "permits_out", "last_reading", "warnings", "cooling", "attribution", "queue", "readings")
    ORG_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    WORKSPACES_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_USERS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    PERMITS_OUT_FIELD_NUMBER: _ClassVar[int]
    LAST_READING_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    COOLING_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    READINGS_FIELD_NUMBER: _ClassVar[int]
    org: str
    as_of: _timestamp_pb2.Timestamp
    limits: _containers.RepeatedCompositeFieldContainer[LimitUsage]
    workspaces: _containers.RepeatedCompositeFieldContainer[WorkspaceUsage]
    execution_users: _containers.RepeatedCompositeFieldContainer[ExecutionUserUsage]
    waiting: int
    permits_out: int
    last_reading: _timestamp_pb2.Timestamp
    warnings: _containers.RepeatedScalarFieldContainer[str]
    cooling: _containers.RepeatedCompositeFieldContainer[CoolingUsage]
    attribution: Attribution
    queue: QueueUsage
    readings: _containers.RepeatedCompositeFieldContainer[Reading]
    def __init__(self, org: _Optional[str] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., limits: _Optional[_Iterable[_Union[LimitUsage, _Mapping]]] = ..., workspaces: _Optional[_Iterable[_Union[WorkspaceUsage, _Mapping]]] = ..., execution_users: _Optional[_Iterable[_Union[ExecutionUserUsage, _Mapping]]] = ..., waiting: _Optional[int] = ..., permits_out: _Optional[int] = ..., last_reading: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ..., cooling: _Optional[_Iterable[_Union[CoolingUsage, _Mapping]]] = ..., attribution: _Optional[_Union[Attribution, _Mapping]] = ..., queue: _Optional[_Union[QueueUsage, _Mapping]] = ..., readings: _Optional[_Iterable[_Union[Reading, _Mapping]]] = ...) -> None: ...

class CoolingUsage(_message.Message):
    __slots__ = ("scope", "identity", "limit", "cause", "since", "until", "attempts", "probe_out")
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    PROBE_OUT_FIELD_NUMBER: _ClassVar[int]
    scope: LimitScope
    identity: str
    limit: str
    cause: CoolingCause
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    attempts: int
    probe_out: bool
    def __init__(self, scope: _Optional[_Union[LimitScope, str]] = ..., identity: _Optional[str] = ..., limit: _Optional[str] = ..., cause: _Optional[_Union[CoolingCause, str]] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., attempts: _Optional[int] = ..., probe_out: bool = ...) -> None: ...

class Attribution(_message.Message):
    __slots__ = ("since", "total", "tables")
    SINCE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    TABLES_FIELD_NUMBER: _ClassVar[int]
    since: _timestamp_pb2.Timestamp
    total: PeriodUse
    tables: _containers.RepeatedCompositeFieldContainer[AttributionTable]
    def __init__(self, since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., total: _Optional[_Union[PeriodUse, _Mapping]] = ..., tables: _Optional[_Iterable[_Union[AttributionTable, _Mapping]]] = ...) -> None: ...

class AttributionTable(_message.Message):
    __slots__ = ("dimension", "consumers", "others", "missing_units_at_most")
    DIMENSION_FIELD_NUMBER: _ClassVar[int]
    CONSUMERS_FIELD_NUMBER: _ClassVar[int]
    OTHERS_FIELD_NUMBER: _ClassVar[int]
    MISSING_UNITS_AT_MOST_FIELD_NUMBER: _ClassVar[int]
    dimension: AttributionDimension
    consumers: _containers.RepeatedCompositeFieldContainer[Consumer]
    others: PeriodUse
    missing_units_at_most: int
    def __init__(self, dimension: _Optional[_Union[AttributionDimension, str]] = ..., consumers: _Optional[_Iterable[_Union[Consumer, _Mapping]]] = ..., others: _Optional[_Union[PeriodUse, _Mapping]] = ..., missing_units_at_most: _Optional[int] = ...) -> None: ...

class Consumer(_message.Message):
    __slots__ = ("name", "used")
    NAME_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    name: str
    used: PeriodUse
    def __init__(self, name: _Optional[str] = ..., used: _Optional[_Union[PeriodUse, _Mapping]] = ...) -> None: ...

class PeriodUse(_message.Message):
    __slots__ = ("last_minute", "last_hour", "last_day")
    LAST_MINUTE_FIELD_NUMBER: _ClassVar[int]
    LAST_HOUR_FIELD_NUMBER: _ClassVar[int]
    LAST_DAY_FIELD_NUMBER: _ClassVar[int]
    last_minute: UseCount
    last_hour: UseCount
    last_day: UseCount
    def __init__(self, last_minute: _Optional[_Union[UseCount, _Mapping]] = ..., last_hour: _Optional[_Union[UseCount, _Mapping]] = ..., last_day: _Optional[_Union[UseCount, _Mapping]] = ...) -> None: ...

class UseCount(_message.Message):
    __slots__ = ("units", "calls", "refused_calls")
    UNITS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_CALLS_FIELD_NUMBER: _ClassVar[int]
    units: int
    calls: int
    refused_calls: int
    def __init__(self, units: _Optional[int] = ..., calls: _Optional[int] = ..., refused_calls: _Optional[int] = ...) -> None: ...

class QueueUsage(_message.Message):
    __slots__ = ("waiting", "first")
    WAITING_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    waiting: _containers.RepeatedCompositeFieldContainer[ClassWaiting]
    first: _containers.RepeatedCompositeFieldContainer[QueuedRequest]
    def __init__(self, waiting: _Optional[_Iterable[_Union[ClassWaiting, _Mapping]]] = ..., first: _Optional[_Iterable[_Union[QueuedRequest, _Mapping]]] = ...) -> None: ...

class ClassWaiting(_message.Message):
    __slots__ = ("traffic_class", "requests")
    TRAFFIC_CLASS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    traffic_class: TrafficClass
    requests: int
    def __init__(self, traffic_class: _Optional[_Union[TrafficClass, str]] = ..., requests: _Optional[int] = ...) -> None: ...

class QueuedRequest(_message.Message):
    __slots__ = ("place", "workspace", "operation", "traffic_class", "calls", "execution_user", "waiting_since", "due_at", "limit", "scope", "identity")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_CLASS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    EXECUTION_USER_FIELD_NUMBER: _ClassVar[int]
    WAITING_SINCE_FIELD_NUMBER: _ClassVar[int]
    DUE_AT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    place: int
    workspace: str
    operation: str
    traffic_class: TrafficClass
    calls: int
    execution_user: str
    waiting_since: _timestamp_pb2.Timestamp
    due_at: _timestamp_pb2.Timestamp
    limit: str
    scope: LimitScope
    identity: str
    def __init__(self, place: _Optional[int] = ..., workspace: _Optional[str] = ..., operation: _Optional[str] = ..., traffic_class: _Optional[_Union[TrafficClass, str]] = ..., calls: _Optional[int] = ..., execution_user: _Optional[str] = ..., waiting_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., due_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., limit: _Optional[str] = ..., scope: _Optional[_Union[LimitScope, str]] = ..., identity: _Optional[str] = ...) -> None: ...

class Reading(_message.Message):
    __slots__ = ("answer_time", "used", "limit", "own", "foreign", "told_by")
    ANSWER_TIME_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    OWN_FIELD_NUMBER: _ClassVar[int]
    FOREIGN_FIELD_NUMBER: _ClassVar[int]
    TOLD_BY_FIELD_NUMBER: _ClassVar[int]
    answer_time: _timestamp_pb2.Timestamp
    used: int
    limit: int
    own: int
    foreign: int
    told_by: str
    def __init__(self, answer_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., used: _Optional[int] = ..., limit: _Optional[int] = ..., own: _Optional[int] = ..., foreign: _Optional[int] = ..., told_by: _Optional[str] = ...) -> None: ...

class WorkspaceUsage(_message.Message):
    __slots__ = ("workspace", "limits", "class_state", "weight", "guaranteed_calls", "attribution")
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    CLASS_STATE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    GUARANTEED_CALLS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    workspace: str
    limits: _containers.RepeatedCompositeFieldContainer[LimitUsage]
    class_state: ClassState
    weight: int
    guaranteed_calls: int
    attribution: WorkspaceAttribution
    def __init__(self, workspace: _Optional[str] = ..., limits: _Optional[_Iterable[_Union[LimitUsage, _Mapping]]] = ..., class_state: _Optional[_Union[ClassState, _Mapping]] = ..., weight: _Optional[int] = ..., guaranteed_calls: _Optional[int] = ..., attribution: _Optional[_Union[WorkspaceAttribution, _Mapping]] = ...) -> None: ...

class WorkspaceAttribution(_message.Message):
    __slots__ = ("pauses",)
    PAUSES_FIELD_NUMBER: _ClassVar[int]
    pauses: _containers.RepeatedCompositeFieldContainer[ClassForecast]
    def __init__(self, pauses: _Optional[_Iterable[_Union[ClassForecast, _Mapping]]] = ...) -> None: ...

class ClassForecast(_message.Message):
    __slots__ = ("traffic_class", "pauses_in")
    TRAFFIC_CLASS_FIELD_NUMBER: _ClassVar[int]
    PAUSES_IN_FIELD_NUMBER: _ClassVar[int]
    traffic_class: TrafficClass
    pauses_in: _duration_pb2.Duration
    def __init__(self, traffic_class: _Optional[_Union[TrafficClass, str]] = ..., pauses_in: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ExecutionUserUsage(_message.Message):
    __slots__ = ("execution_user", "limits", "in_pool", "foreign_traffic")
    EXECUTION_USER_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    IN_POOL_FIELD_NUMBER: _ClassVar[int]
    FOREIGN_TRAFFIC_FIELD_NUMBER: _ClassVar[int]
    execution_user: str
    limits: _containers.RepeatedCompositeFieldContainer[LimitUsage]
    in_pool: bool
    foreign_traffic: bool
    def __init__(self, execution_user: _Optional[str] = ..., limits: _Optional[_Iterable[_Union[LimitUsage, _Mapping]]] = ..., in_pool: bool = ..., foreign_traffic: bool = ...) -> None: ...

class WatchUsageRequest(_message.Message):
    __slots__ = ("org",)
    ORG_FIELD_NUMBER: _ClassVar[int]
    org: str
    def __init__(self, org: _Optional[str] = ...) -> None: ...

class ClassTransition(_message.Message):
    __slots__ = ("workspace", "status")
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    workspace: str
    status: ClassStatus
    def __init__(self, workspace: _Optional[str] = ..., status: _Optional[_Union[ClassStatus, _Mapping]] = ...) -> None: ...

class WatchUsageResponse(_message.Message):
    __slots__ = ("usage", "snapshot", "transitions")
    USAGE_FIELD_NUMBER: _ClassVar[int]
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    TRANSITIONS_FIELD_NUMBER: _ClassVar[int]
    usage: OrgUsage
    snapshot: bool
    transitions: _containers.RepeatedCompositeFieldContainer[ClassTransition]
    def __init__(self, usage: _Optional[_Union[OrgUsage, _Mapping]] = ..., snapshot: bool = ..., transitions: _Optional[_Iterable[_Union[ClassTransition, _Mapping]]] = ...) -> None: ...

class GetDemandRequest(_message.Message):
    __slots__ = ("org", "workspace", "since")
    ORG_FIELD_NUMBER: _ClassVar[int]
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    org: str
    workspace: str
    since: _timestamp_pb2.Timestamp
    def __init__(self, org: _Optional[str] = ..., workspace: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetDemandResponse(_message.Message):
    __slots__ = ("org", "as_of", "counted_since", "series", "history")
    ORG_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    COUNTED_SINCE_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    org: str
    as_of: _timestamp_pb2.Timestamp
    counted_since: _timestamp_pb2.Timestamp
    series: _containers.RepeatedCompositeFieldContainer[DemandSeries]
    history: _containers.RepeatedCompositeFieldContainer[HistoryPoint]
    def __init__(self, org: _Optional[str] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., counted_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., series: _Optional[_Iterable[_Union[DemandSeries, _Mapping]]] = ..., history: _Optional[_Iterable[_Union[HistoryPoint, _Mapping]]] = ...) -> None: ...

class HistoryPoint(_message.Message):
    __slots__ = ("time", "own", "foreign", "limit")
    TIME_FIELD_NUMBER: _ClassVar[int]
    OWN_FIELD_NUMBER: _ClassVar[int]
    FOREIGN_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    own: int
    foreign: int
    limit: int
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., own: _Optional[int] = ..., foreign: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class DemandSeries(_message.Message):
    __slots__ = ("workspace", "traffic_class", "operation", "rest", "minutes")
    WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_CLASS_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    REST_FIELD_NUMBER: _ClassVar[int]
    MINUTES_FIELD_NUMBER: _ClassVar[int]
    workspace: str
    traffic_class: TrafficClass
    operation: str
    rest: bool
    minutes: _containers.RepeatedCompositeFieldContainer[DemandMinute]
    def __init__(self, workspace: _Optional[str] = ..., traffic_class: _Optional[_Union[TrafficClass, str]] = ..., operation: _Optional[str] = ..., rest: bool = ..., minutes: _Optional[_Iterable[_Union[DemandMinute, _Mapping]]] = ...) -> None: ...

class DemandMinute(_message.Message):
    __slots__ = ("minute", "asked_calls", "asked_units", "granted_calls", "granted_units", "refused_by_execution_user", "refused_by_workspace", "refused_by_org", "refused_by_concurrency", "refused_otherwise")
    MINUTE_FIELD_NUMBER: _ClassVar[int]
    ASKED_CALLS_FIELD_NUMBER: _ClassVar[int]
    ASKED_UNITS_FIELD_NUMBER: _ClassVar[int]
    GRANTED_CALLS_FIELD_NUMBER: _ClassVar[int]
    GRANTED_UNITS_FIELD_NUMBER: _ClassVar[int]
    REFUSED_BY_EXECUTION_USER_FIELD_NUMBER: _ClassVar[int]
    REFUSED_BY_WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    REFUSED_BY_ORG_FIELD_NUMBER: _ClassVar[int]
    REFUSED_BY_CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    REFUSED_OTHERWISE_FIELD_NUMBER: _ClassVar[int]
    minute: _timestamp_pb2.Timestamp
    asked_calls: int
    asked_units: int
    granted_calls: int
    granted_units: int
    refused_by_execution_user: int
    refused_by_workspace: int
    refused_by_org: int
    refused_by_concurrency: int
    refused_otherwise: int
    def __init__(self, minute: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., asked_calls: _Optional[int] = ..., asked_units: _Optional[int] = ..., granted_calls: _Optional[int] = ..., granted_units: _Optional[int] = ..., refused_by_execution_user: _Optional[int] = ..., refused_by_workspace: _Optional[int] = ..., refused_by_org: _Optional[int] = ..., refused_by_concurrency: _Optional[int] = ..., refused_otherwise: _Optional[int] = ...) -> None: ...

class ListUsageRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "order", "search")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    order: UsageOrder
    search: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., order: _Optional[_Union[UsageOrder, str]] = ..., search: _Optional[str] = ...) -> None: ...

class ListUsageResponse(_message.Message):
    __slots__ = ("as_of", "orgs", "next_page_token", "total_size", "in_trouble", "unknown", "silent_nodes")
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    ORGS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    IN_TROUBLE_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    SILENT_NODES_FIELD_NUMBER: _ClassVar[int]
    as_of: _timestamp_pb2.Timestamp
    orgs: _containers.RepeatedCompositeFieldContainer[OrgLine]
    next_page_token: str
    total_size: int
    in_trouble: int
    unknown: int
    silent_nodes: _containers.RepeatedCompositeFieldContainer[SilentNode]
    def __init__(self, as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., orgs: _Optional[_Iterable[_Union[OrgLine, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_size: _Optional[int] = ..., in_trouble: _Optional[int] = ..., unknown: _Optional[int] = ..., silent_nodes: _Optional[_Iterable[_Union[SilentNode, _Mapping]]] = ...) -> None: ...

class SilentNode(_message.Message):
    __slots__ = ("node", "reason")
    NODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    node: str
    reason: str
    def __init__(self, node: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class OrgLine(_message.Message):
    __slots__ = ("org", "total", "workspaces", "paused", "workspaces_at_limit", "fullest_workspace", "fullest_used_percent", "waiting", "cooling", "severity", "trouble")
    ORG_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    WORKSPACES_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    WORKSPACES_AT_LIMIT_FIELD_NUMBER: _ClassVar[int]
    FULLEST_WORKSPACE_FIELD_NUMBER: _ClassVar[int]
    FULLEST_USED_PERCENT_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    COOLING_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    org: str
    total: LimitUsage
    workspaces: int
    paused: _containers.RepeatedCompositeFieldContainer[PausedClass]
    workspaces_at_limit: int
    fullest_workspace: str
    fullest_used_percent: int
    waiting: int
    cooling: CoolingLine
    severity: Severity
    trouble: str
    def __init__(self, org: _Optional[str] = ..., total: _Optional[_Union[LimitUsage, _Mapping]] = ..., workspaces: _Optional[int] = ..., paused: _Optional[_Iterable[_Union[PausedClass, _Mapping]]] = ..., workspaces_at_limit: _Optional[int] = ..., fullest_workspace: _Optional[str] = ..., fullest_used_percent: _Optional[int] = ..., waiting: _Optional[int] = ..., cooling: _Optional[_Union[CoolingLine, _Mapping]] = ..., severity: _Optional[_Union[Severity, str]] = ..., trouble: _Optional[str] = ...) -> None: ...

class PausedClass(_message.Message):
    __slots__ = ("traffic_class", "workspaces")
    TRAFFIC_CLASS_FIELD_NUMBER: _ClassVar[int]
    WORKSPACES_FIELD_NUMBER: _ClassVar[int]
    traffic_class: TrafficClass
    workspaces: int
    def __init__(self, traffic_class: _Optional[_Union[TrafficClass, str]] = ..., workspaces: _Optional[int] = ...) -> None: ...

class CoolingLine(_message.Message):
    __slots__ = ("until", "scope", "total", "limits")
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    until: _timestamp_pb2.Timestamp
    scope: LimitScope
    total: bool
    limits: int
    def __init__(self, until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., scope: _Optional[_Union[LimitScope, str]] = ..., total: bool = ..., limits: _Optional[int] = ...) -> None: ...
