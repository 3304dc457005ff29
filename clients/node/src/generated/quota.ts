// Written by scripts/generate.mjs. Do not edit.
import type * as grpc from '@grpc/grpc-js';
import type { EnumTypeDefinition, MessageTypeDefinition } from '@grpc/proto-loader';

import type { Duration as _google_protobuf_Duration, Duration__Output as _google_protobuf_Duration__Output } from './google/protobuf/Duration.js';
import type { Timestamp as _google_protobuf_Timestamp, Timestamp__Output as _google_protobuf_Timestamp__Output } from './google/protobuf/Timestamp.js';
import type { AcquireRequest as _quotagate_v1_AcquireRequest, AcquireRequest__Output as _quotagate_v1_AcquireRequest__Output } from './quotagate/v1/AcquireRequest.js';
import type { AcquireResponse as _quotagate_v1_AcquireResponse, AcquireResponse__Output as _quotagate_v1_AcquireResponse__Output } from './quotagate/v1/AcquireResponse.js';
import type { Attribution as _quotagate_v1_Attribution, Attribution__Output as _quotagate_v1_Attribution__Output } from './quotagate/v1/Attribution.js';
import type { AttributionTable as _quotagate_v1_AttributionTable, AttributionTable__Output as _quotagate_v1_AttributionTable__Output } from './quotagate/v1/AttributionTable.js';
import type { ClassForecast as _quotagate_v1_ClassForecast, ClassForecast__Output as _quotagate_v1_ClassForecast__Output } from './quotagate/v1/ClassForecast.js';
import type { ClassState as _quotagate_v1_ClassState, ClassState__Output as _quotagate_v1_ClassState__Output } from './quotagate/v1/ClassState.js';
import type { ClassStatus as _quotagate_v1_ClassStatus, ClassStatus__Output as _quotagate_v1_ClassStatus__Output } from './quotagate/v1/ClassStatus.js';
import type { ClassTransition as _quotagate_v1_ClassTransition, ClassTransition__Output as _quotagate_v1_ClassTransition__Output } from './quotagate/v1/ClassTransition.js';
import type { ClassWaiting as _quotagate_v1_ClassWaiting, ClassWaiting__Output as _quotagate_v1_ClassWaiting__Output } from './quotagate/v1/ClassWaiting.js';
import type { Consumer as _quotagate_v1_Consumer, Consumer__Output as _quotagate_v1_Consumer__Output } from './quotagate/v1/Consumer.js';
import type { CoolingLine as _quotagate_v1_CoolingLine, CoolingLine__Output as _quotagate_v1_CoolingLine__Output } from './quotagate/v1/CoolingLine.js';
import type { CoolingUsage as _quotagate_v1_CoolingUsage, CoolingUsage__Output as _quotagate_v1_CoolingUsage__Output } from './quotagate/v1/CoolingUsage.js';
import type { DemandMinute as _quotagate_v1_DemandMinute, DemandMinute__Output as _quotagate_v1_DemandMinute__Output } from './quotagate/v1/DemandMinute.js';
import type { DemandSeries as _quotagate_v1_DemandSeries, DemandSeries__Output as _quotagate_v1_DemandSeries__Output } from './quotagate/v1/DemandSeries.js';
import type { Denial as _quotagate_v1_Denial, Denial__Output as _quotagate_v1_Denial__Output } from './quotagate/v1/Denial.js';
import type { ExecutionUserUsage as _quotagate_v1_ExecutionUserUsage, ExecutionUserUsage__Output as _quotagate_v1_ExecutionUserUsage__Output } from './quotagate/v1/ExecutionUserUsage.js';
import type { GetDemandRequest as _quotagate_v1_GetDemandRequest, GetDemandRequest__Output as _quotagate_v1_GetDemandRequest__Output } from './quotagate/v1/GetDemandRequest.js';
import type { GetDemandResponse as _quotagate_v1_GetDemandResponse, GetDemandResponse__Output as _quotagate_v1_GetDemandResponse__Output } from './quotagate/v1/GetDemandResponse.js';
import type { GetUsageRequest as _quotagate_v1_GetUsageRequest, GetUsageRequest__Output as _quotagate_v1_GetUsageRequest__Output } from './quotagate/v1/GetUsageRequest.js';
import type { GetUsageResponse as _quotagate_v1_GetUsageResponse, GetUsageResponse__Output as _quotagate_v1_GetUsageResponse__Output } from './quotagate/v1/GetUsageResponse.js';
import type { HistoryPoint as _quotagate_v1_HistoryPoint, HistoryPoint__Output as _quotagate_v1_HistoryPoint__Output } from './quotagate/v1/HistoryPoint.js';
import type { LimitExplanation as _quotagate_v1_LimitExplanation, LimitExplanation__Output as _quotagate_v1_LimitExplanation__Output } from './quotagate/v1/LimitExplanation.js';
import type { LimitUsage as _quotagate_v1_LimitUsage, LimitUsage__Output as _quotagate_v1_LimitUsage__Output } from './quotagate/v1/LimitUsage.js';
import type { ListUsageRequest as _quotagate_v1_ListUsageRequest, ListUsageRequest__Output as _quotagate_v1_ListUsageRequest__Output } from './quotagate/v1/ListUsageRequest.js';
import type { ListUsageResponse as _quotagate_v1_ListUsageResponse, ListUsageResponse__Output as _quotagate_v1_ListUsageResponse__Output } from './quotagate/v1/ListUsageResponse.js';
import type { OrgLine as _quotagate_v1_OrgLine, OrgLine__Output as _quotagate_v1_OrgLine__Output } from './quotagate/v1/OrgLine.js';
import type { OrgUsage as _quotagate_v1_OrgUsage, OrgUsage__Output as _quotagate_v1_OrgUsage__Output } from './quotagate/v1/OrgUsage.js';
import type { PausedClass as _quotagate_v1_PausedClass, PausedClass__Output as _quotagate_v1_PausedClass__Output } from './quotagate/v1/PausedClass.js';
import type { PeriodUse as _quotagate_v1_PeriodUse, PeriodUse__Output as _quotagate_v1_PeriodUse__Output } from './quotagate/v1/PeriodUse.js';
import type { Permit as _quotagate_v1_Permit, Permit__Output as _quotagate_v1_Permit__Output } from './quotagate/v1/Permit.js';
import type { QueueUsage as _quotagate_v1_QueueUsage, QueueUsage__Output as _quotagate_v1_QueueUsage__Output } from './quotagate/v1/QueueUsage.js';
import type { QueuedRequest as _quotagate_v1_QueuedRequest, QueuedRequest__Output as _quotagate_v1_QueuedRequest__Output } from './quotagate/v1/QueuedRequest.js';
import type { QuotaServiceClient as _quotagate_v1_QuotaServiceClient, QuotaServiceDefinition as _quotagate_v1_QuotaServiceDefinition } from './quotagate/v1/QuotaService.js';
import type { Reading as _quotagate_v1_Reading, Reading__Output as _quotagate_v1_Reading__Output } from './quotagate/v1/Reading.js';
import type { ReleaseRequest as _quotagate_v1_ReleaseRequest, ReleaseRequest__Output as _quotagate_v1_ReleaseRequest__Output } from './quotagate/v1/ReleaseRequest.js';
import type { ReleaseResponse as _quotagate_v1_ReleaseResponse, ReleaseResponse__Output as _quotagate_v1_ReleaseResponse__Output } from './quotagate/v1/ReleaseResponse.js';
import type { ReportRequest as _quotagate_v1_ReportRequest, ReportRequest__Output as _quotagate_v1_ReportRequest__Output } from './quotagate/v1/ReportRequest.js';
import type { ReportResponse as _quotagate_v1_ReportResponse, ReportResponse__Output as _quotagate_v1_ReportResponse__Output } from './quotagate/v1/ReportResponse.js';
import type { Shadow as _quotagate_v1_Shadow, Shadow__Output as _quotagate_v1_Shadow__Output } from './quotagate/v1/Shadow.js';
import type { SilentNode as _quotagate_v1_SilentNode, SilentNode__Output as _quotagate_v1_SilentNode__Output } from './quotagate/v1/SilentNode.js';
import type { UseCount as _quotagate_v1_UseCount, UseCount__Output as _quotagate_v1_UseCount__Output } from './quotagate/v1/UseCount.js';
import type { Warning as _quotagate_v1_Warning, Warning__Output as _quotagate_v1_Warning__Output } from './quotagate/v1/Warning.js';
import type { WatchUsageRequest as _quotagate_v1_WatchUsageRequest, WatchUsageRequest__Output as _quotagate_v1_WatchUsageRequest__Output } from './quotagate/v1/WatchUsageRequest.js';
import type { WatchUsageResponse as _quotagate_v1_WatchUsageResponse, WatchUsageResponse__Output as _quotagate_v1_WatchUsageResponse__Output } from './quotagate/v1/WatchUsageResponse.js';
import type { WorkspaceAttribution as _quotagate_v1_WorkspaceAttribution, WorkspaceAttribution__Output as _quotagate_v1_WorkspaceAttribution__Output } from './quotagate/v1/WorkspaceAttribution.js';
import type { WorkspaceUsage as _quotagate_v1_WorkspaceUsage, WorkspaceUsage__Output as _quotagate_v1_WorkspaceUsage__Output } from './quotagate/v1/WorkspaceUsage.js';

type SubtypeConstructor<Constructor extends new (...args: any) => any, Subtype> = {
  new(...args: ConstructorParameters<Constructor>): Subtype;
};

export interface ProtoGrpcType {
  google: {
    protobuf: {
      Duration: MessageTypeDefinition<_google_protobuf_Duration, _google_protobuf_Duration__Output>
      Timestamp: MessageTypeDefinition<_google_protobuf_Timestamp, _google_protobuf_Timestamp__Output>
    }
  }
  quotagate: {
    v1: {
      AcquireMode: EnumTypeDefinition
      AcquireRequest: MessageTypeDefinition<_quotagate_v1_AcquireRequest, _quotagate_v1_AcquireRequest__Output>
      AcquireResponse: MessageTypeDefinition<_quotagate_v1_AcquireResponse, _quotagate_v1_AcquireResponse__Output>
      Advice: EnumTypeDefinition
      Attribution: MessageTypeDefinition<_quotagate_v1_Attribution, _quotagate_v1_Attribution__Output>
      AttributionDimension: EnumTypeDefinition
      AttributionTable: MessageTypeDefinition<_quotagate_v1_AttributionTable, _quotagate_v1_AttributionTable__Output>
      ClassForecast: MessageTypeDefinition<_quotagate_v1_ClassForecast, _quotagate_v1_ClassForecast__Output>
      ClassRunState: EnumTypeDefinition
      ClassState: MessageTypeDefinition<_quotagate_v1_ClassState, _quotagate_v1_ClassState__Output>
      ClassStatus: MessageTypeDefinition<_quotagate_v1_ClassStatus, _quotagate_v1_ClassStatus__Output>
      ClassTransition: MessageTypeDefinition<_quotagate_v1_ClassTransition, _quotagate_v1_ClassTransition__Output>
      ClassWaiting: MessageTypeDefinition<_quotagate_v1_ClassWaiting, _quotagate_v1_ClassWaiting__Output>
      Consumer: MessageTypeDefinition<_quotagate_v1_Consumer, _quotagate_v1_Consumer__Output>
      CoolingCause: EnumTypeDefinition
      CoolingLine: MessageTypeDefinition<_quotagate_v1_CoolingLine, _quotagate_v1_CoolingLine__Output>
      CoolingUsage: MessageTypeDefinition<_quotagate_v1_CoolingUsage, _quotagate_v1_CoolingUsage__Output>
      DemandMinute: MessageTypeDefinition<_quotagate_v1_DemandMinute, _quotagate_v1_DemandMinute__Output>
      DemandSeries: MessageTypeDefinition<_quotagate_v1_DemandSeries, _quotagate_v1_DemandSeries__Output>
      Denial: MessageTypeDefinition<_quotagate_v1_Denial, _quotagate_v1_Denial__Output>
      DenialReason: EnumTypeDefinition
      ExecutionUserUsage: MessageTypeDefinition<_quotagate_v1_ExecutionUserUsage, _quotagate_v1_ExecutionUserUsage__Output>
      GetDemandRequest: MessageTypeDefinition<_quotagate_v1_GetDemandRequest, _quotagate_v1_GetDemandRequest__Output>
      GetDemandResponse: MessageTypeDefinition<_quotagate_v1_GetDemandResponse, _quotagate_v1_GetDemandResponse__Output>
      GetUsageRequest: MessageTypeDefinition<_quotagate_v1_GetUsageRequest, _quotagate_v1_GetUsageRequest__Output>
      GetUsageResponse: MessageTypeDefinition<_quotagate_v1_GetUsageResponse, _quotagate_v1_GetUsageResponse__Output>
      HistoryPoint: MessageTypeDefinition<_quotagate_v1_HistoryPoint, _quotagate_v1_HistoryPoint__Output>
      LimitExplanation: MessageTypeDefinition<_quotagate_v1_LimitExplanation, _quotagate_v1_LimitExplanation__Output>
      LimitKind: EnumTypeDefinition
      LimitScope: EnumTypeDefinition
      LimitUsage: MessageTypeDefinition<_quotagate_v1_LimitUsage, _quotagate_v1_LimitUsage__Output>
      ListUsageRequest: MessageTypeDefinition<_quotagate_v1_ListUsageRequest, _quotagate_v1_ListUsageRequest__Output>
      ListUsageResponse: MessageTypeDefinition<_quotagate_v1_ListUsageResponse, _quotagate_v1_ListUsageResponse__Output>
      OrgLine: MessageTypeDefinition<_quotagate_v1_OrgLine, _quotagate_v1_OrgLine__Output>
      OrgUsage: MessageTypeDefinition<_quotagate_v1_OrgUsage, _quotagate_v1_OrgUsage__Output>
      PausedClass: MessageTypeDefinition<_quotagate_v1_PausedClass, _quotagate_v1_PausedClass__Output>
      PeriodUse: MessageTypeDefinition<_quotagate_v1_PeriodUse, _quotagate_v1_PeriodUse__Output>
      Permit: MessageTypeDefinition<_quotagate_v1_Permit, _quotagate_v1_Permit__Output>
      QueueUsage: MessageTypeDefinition<_quotagate_v1_QueueUsage, _quotagate_v1_QueueUsage__Output>
      QueuedRequest: MessageTypeDefinition<_quotagate_v1_QueuedRequest, _quotagate_v1_QueuedRequest__Output>
      QuotaService: SubtypeConstructor<typeof grpc.Client, _quotagate_v1_QuotaServiceClient> & { service: _quotagate_v1_QuotaServiceDefinition }
      Reading: MessageTypeDefinition<_quotagate_v1_Reading, _quotagate_v1_Reading__Output>
      ReleaseRequest: MessageTypeDefinition<_quotagate_v1_ReleaseRequest, _quotagate_v1_ReleaseRequest__Output>
      ReleaseResponse: MessageTypeDefinition<_quotagate_v1_ReleaseResponse, _quotagate_v1_ReleaseResponse__Output>
      ReportRequest: MessageTypeDefinition<_quotagate_v1_ReportRequest, _quotagate_v1_ReportRequest__Output>
      ReportResponse: MessageTypeDefinition<_quotagate_v1_ReportResponse, _quotagate_v1_ReportResponse__Output>
      Severity: EnumTypeDefinition
      Shadow: MessageTypeDefinition<_quotagate_v1_Shadow, _quotagate_v1_Shadow__Output>
      SilentNode: MessageTypeDefinition<_quotagate_v1_SilentNode, _quotagate_v1_SilentNode__Output>
      TrafficClass: EnumTypeDefinition
      UsageOrder: EnumTypeDefinition
      UseCount: MessageTypeDefinition<_quotagate_v1_UseCount, _quotagate_v1_UseCount__Output>
      Warning: MessageTypeDefinition<_quotagate_v1_Warning, _quotagate_v1_Warning__Output>
      WarningKind: EnumTypeDefinition
      WatchUsageRequest: MessageTypeDefinition<_quotagate_v1_WatchUsageRequest, _quotagate_v1_WatchUsageRequest__Output>
      WatchUsageResponse: MessageTypeDefinition<_quotagate_v1_WatchUsageResponse, _quotagate_v1_WatchUsageResponse__Output>
      WorkspaceAttribution: MessageTypeDefinition<_quotagate_v1_WorkspaceAttribution, _quotagate_v1_WorkspaceAttribution__Output>
      WorkspaceUsage: MessageTypeDefinition<_quotagate_v1_WorkspaceUsage, _quotagate_v1_WorkspaceUsage__Output>
    }
  }
}

