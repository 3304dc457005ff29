// Written by scripts/generate.mjs. Do not edit.

import type * as grpc from '@grpc/grpc-js'
import type { MethodDefinition } from '@grpc/proto-loader'
import type { AcquireRequest as _quotagate_v1_AcquireRequest, AcquireRequest__Output as _quotagate_v1_AcquireRequest__Output } from '../../quotagate/v1/AcquireRequest.js';
import type { AcquireResponse as _quotagate_v1_AcquireResponse, AcquireResponse__Output as _quotagate_v1_AcquireResponse__Output } from '../../quotagate/v1/AcquireResponse.js';
import type { GetDemandRequest as _quotagate_v1_GetDemandRequest, GetDemandRequest__Output as _quotagate_v1_GetDemandRequest__Output } from '../../quotagate/v1/GetDemandRequest.js';
import type { GetDemandResponse as _quotagate_v1_GetDemandResponse, GetDemandResponse__Output as _quotagate_v1_GetDemandResponse__Output } from '../../quotagate/v1/GetDemandResponse.js';
import type { GetUsageRequest as _quotagate_v1_GetUsageRequest, GetUsageRequest__Output as _quotagate_v1_GetUsageRequest__Output } from '../../quotagate/v1/GetUsageRequest.js';
import type { GetUsageResponse as _quotagate_v1_GetUsageResponse, GetUsageResponse__Output as _quotagate_v1_GetUsageResponse__Output } from '../../quotagate/v1/GetUsageResponse.js';
import type { ListUsageRequest as _quotagate_v1_ListUsageRequest, ListUsageRequest__Output as _quotagate_v1_ListUsageRequest__Output } from '../../quotagate/v1/ListUsageRequest.js';
import type { ListUsageResponse as _quotagate_v1_ListUsageResponse, ListUsageResponse__Output as _quotagate_v1_ListUsageResponse__Output } from '../../quotagate/v1/ListUsageResponse.js';
import type { ReleaseRequest as _quotagate_v1_ReleaseRequest, ReleaseRequest__Output as _quotagate_v1_ReleaseRequest__Output } from '../../quotagate/v1/ReleaseRequest.js';
import type { ReleaseResponse as _quotagate_v1_ReleaseResponse, ReleaseResponse__Output as _quotagate_v1_ReleaseResponse__Output } from '../../quotagate/v1/ReleaseResponse.js';
import type { ReportRequest as _quotagate_v1_ReportRequest, ReportRequest__Output as _quotagate_v1_ReportRequest__Output } from '../../quotagate/v1/ReportRequest.js';
import type { ReportResponse as _quotagate_v1_ReportResponse, ReportResponse__Output as _quotagate_v1_ReportResponse__Output } from '../../quotagate/v1/ReportResponse.js';
import type { WatchUsageRequest as _quotagate_v1_WatchUsageRequest, WatchUsageRequest__Output as _quotagate_v1_WatchUsageRequest__Output } from '../../quotagate/v1/WatchUsageRequest.js';
import type { WatchUsageResponse as _quotagate_v1_WatchUsageResponse, WatchUsageResponse__Output as _quotagate_v1_WatchUsageResponse__Output } from '../../quotagate/v1/WatchUsageResponse.js';

export interface QuotaServiceClient extends grpc.Client {
  Acquire(argument: _quotagate_v1_AcquireRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_AcquireResponse__Output>): grpc.ClientUnaryCall;
  Acquire(argument: _quotagate_v1_AcquireRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_quotagate_v1_AcquireResponse__Output>): grpc.ClientUnaryCall;
  Acquire(argument: _quotagate_v1_AcquireRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_AcquireResponse__Output>): grpc.ClientUnaryCall;
  Acquire(argument: _quotagate_v1_AcquireRequest, callback: grpc.requestCallback<_quotagate_v1_AcquireResponse__Output>): grpc.ClientUnaryCall;
  acquire(argument: _quotagate_v1_AcquireRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_AcquireResponse__Output>): grpc.ClientUnaryCall;
  acquire(argument: _quotagate_v1_AcquireRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_quotagate_v1_AcquireResponse__Output>): grpc.ClientUnaryCall;
  acquire(argument: _quotagate_v1_AcquireRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_AcquireResponse__Output>): grpc.ClientUnaryCall;
  acquire(argument: _quotagate_v1_AcquireRequest, callback: grpc.requestCallback<_quotagate_v1_AcquireResponse__Output>): grpc.ClientUnaryCall;
  
  GetDemand(argument: _quotagate_v1_GetDemandRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_GetDemandResponse__Output>): grpc.ClientUnaryCall;
  GetDemand(argument: _quotagate_v1_GetDemandRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_quotagate_v1_GetDemandResponse__Output>): grpc.ClientUnaryCall;
  GetDemand(argument: _quotagate_v1_GetDemandRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_GetDemandResponse__Output>): grpc.ClientUnaryCall;
  GetDemand(argument: _quotagate_v1_GetDemandRequest, callback: grpc.requestCallback<_quotagate_v1_GetDemandResponse__Output>): grpc.ClientUnaryCall;
  getDemand(argument: _quotagate_v1_GetDemandRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_GetDemandResponse__Output>): grpc.ClientUnaryCall;
  getDemand(argument: _quotagate_v1_GetDemandRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_quotagate_v1_GetDemandResponse__Output>): grpc.ClientUnaryCall;
  getDemand(argument: _quotagate_v1_GetDemandRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_GetDemandResponse__Output>): grpc.ClientUnaryCall;
  getDemand(argument: _quotagate_v1_GetDemandRequest, callback: grpc.requestCallback<_quotagate_v1_GetDemandResponse__Output>): grpc.ClientUnaryCall;
  
  GetUsage(argument: _quotagate_v1_GetUsageRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_GetUsageResponse__Output>): grpc.ClientUnaryCall;
  GetUsage(argument: _quotagate_v1_GetUsageRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_quotagate_v1_GetUsageResponse__Output>): grpc.ClientUnaryCall;
  GetUsage(argument: _quotagate_v1_GetUsageRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_GetUsageResponse__Output>): grpc.ClientUnaryCall;
  GetUsage(argument: _quotagate_v1_GetUsageRequest, callback: grpc.requestCallback<_quotagate_v1_GetUsageResponse__Output>): grpc.ClientUnaryCall;
  getUsage(argument: _quotagate_v1_GetUsageRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_GetUsageResponse__Output>): grpc.ClientUnaryCall;
  getUsage(argument: _quotagate_v1_GetUsageRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_quotagate_v1_GetUsageResponse__Output>): grpc.ClientUnaryCall;
  getUsage(argument: _quotagate_v1_GetUsageRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_GetUsageResponse__Output>): grpc.ClientUnaryCall;
  getUsage(argument: _quotagate_v1_GetUsageRequest, callback: grpc.requestCallback<_quotagate_v1_GetUsageResponse__Output>): grpc.ClientUnaryCall;
  
  ListUsage(argument: _quotagate_v1_ListUsageRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_ListUsageResponse__Output>): grpc.ClientUnaryCall;
  ListUsage(argument: _quotagate_v1_ListUsageRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_quotagate_v1_ListUsageResponse__Output>): grpc.ClientUnaryCall;
  ListUsage(argument: _quotagate_v1_ListUsageRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_ListUsageResponse__Output>): grpc.ClientUnaryCall;
  ListUsage(argument: _quotagate_v1_ListUsageRequest, callback: grpc.requestCallback<_quotagate_v1_ListUsageResponse__Output>): grpc.ClientUnaryCall;
  listUsage(argument: _quotagate_v1_ListUsageRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_ListUsageResponse__Output>): grpc.ClientUnaryCall;
  listUsage(argument: _quotagate_v1_ListUsageRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_quotagate_v1_ListUsageResponse__Output>): grpc.ClientUnaryCall;
  listUsage(argument: _quotagate_v1_ListUsageRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_ListUsageResponse__Output>): grpc.ClientUnaryCall;
  listUsage(argument: _quotagate_v1_ListUsageRequest, callback: grpc.requestCallback<_quotagate_v1_ListUsageResponse__Output>): grpc.ClientUnaryCall;
  
  Release(argument: _quotagate_v1_ReleaseRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_ReleaseResponse__Output>): grpc.ClientUnaryCall;
  Release(argument: _quotagate_v1_ReleaseRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_quotagate_v1_ReleaseResponse__Output>): grpc.ClientUnaryCall;
  Release(argument: _quotagate_v1_ReleaseRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_ReleaseResponse__Output>): grpc.ClientUnaryCall;
  Release(argument: _quotagate_v1_ReleaseRequest, callback: grpc.requestCallback<_quotagate_v1_ReleaseResponse__Output>): grpc.ClientUnaryCall;
  release(argument: _quotagate_v1_ReleaseRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_ReleaseResponse__Output>): grpc.ClientUnaryCall;
  release(argument: _quotagate_v1_ReleaseRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_quotagate_v1_ReleaseResponse__Output>): grpc.ClientUnaryCall;
  release(argument: _quotagate_v1_ReleaseRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_ReleaseResponse__Output>): grpc.ClientUnaryCall;
  release(argument: _quotagate_v1_ReleaseRequest, callback: grpc.requestCallback<_quotagate_v1_ReleaseResponse__Output>): grpc.ClientUnaryCall;
  
  Report(argument: _quotagate_v1_ReportRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_ReportResponse__Output>): grpc.ClientUnaryCall;
  Report(argument: _quotagate_v1_ReportRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_quotagate_v1_ReportResponse__Output>): grpc.ClientUnaryCall;
  Report(argument: _quotagate_v1_ReportRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_ReportResponse__Output>): grpc.ClientUnaryCall;
  Report(argument: _quotagate_v1_ReportRequest, callback: grpc.requestCallback<_quotagate_v1_ReportResponse__Output>): grpc.ClientUnaryCall;
  report(argument: _quotagate_v1_ReportRequest, metadata: grpc.Metadata, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_ReportResponse__Output>): grpc.ClientUnaryCall;
  report(argument: _quotagate_v1_ReportRequest, metadata: grpc.Metadata, callback: grpc.requestCallback<_quotagate_v1_ReportResponse__Output>): grpc.ClientUnaryCall;
  report(argument: _quotagate_v1_ReportRequest, options: grpc.CallOptions, callback: grpc.requestCallback<_quotagate_v1_ReportResponse__Output>): grpc.ClientUnaryCall;
  report(argument: _quotagate_v1_ReportRequest, callback: grpc.requestCallback<_quotagate_v1_ReportResponse__Output>): grpc.ClientUnaryCall;
  
  WatchUsage(argument: _quotagate_v1_WatchUsageRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_quotagate_v1_WatchUsageResponse__Output>;
  WatchUsage(argument: _quotagate_v1_WatchUsageRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_quotagate_v1_WatchUsageResponse__Output>;
  watchUsage(argument: _quotagate_v1_WatchUsageRequest, metadata: grpc.Metadata, options?: grpc.CallOptions): grpc.ClientReadableStream<_quotagate_v1_WatchUsageResponse__Output>;
  watchUsage(argument: _quotagate_v1_WatchUsageRequest, options?: grpc.CallOptions): grpc.ClientReadableStream<_quotagate_v1_WatchUsageResponse__Output>;
  
}

export interface QuotaServiceHandlers extends grpc.UntypedServiceImplementation {
  Acquire: grpc.handleUnaryCall<_quotagate_v1_AcquireRequest__Output, _quotagate_v1_AcquireResponse>;
  
  GetDemand: grpc.handleUnaryCall<_quotagate_v1_GetDemandRequest__Output, _quotagate_v1_GetDemandResponse>;
  
  GetUsage: grpc.handleUnaryCall<_quotagate_v1_GetUsageRequest__Output, _quotagate_v1_GetUsageResponse>;
  
  ListUsage: grpc.handleUnaryCall<_quotagate_v1_ListUsageRequest__Output, _quotagate_v1_ListUsageResponse>;
  
  Release: grpc.handleUnaryCall<_quotagate_v1_ReleaseRequest__Output, _quotagate_v1_ReleaseResponse>;
  
  Report: grpc.handleUnaryCall<_quotagate_v1_ReportRequest__Output, _quotagate_v1_ReportResponse>;
  
  WatchUsage: grpc.handleServerStreamingCall<_quotagate_v1_WatchUsageRequest__Output, _quotagate_v1_WatchUsageResponse>;
  
}

export interface QuotaServiceDefinition extends grpc.ServiceDefinition {
  Acquire: MethodDefinition<_quotagate_v1_AcquireRequest, _quotagate_v1_AcquireResponse, _quotagate_v1_AcquireRequest__Output, _quotagate_v1_AcquireResponse__Output>
  GetDemand: MethodDefinition<_quotagate_v1_GetDemandRequest, _quotagate_v1_GetDemandResponse, _quotagate_v1_GetDemandRequest__Output, _quotagate_v1_GetDemandResponse__Output>
  GetUsage: MethodDefinition<_quotagate_v1_GetUsageRequest, _quotagate_v1_GetUsageResponse, _quotagate_v1_GetUsageRequest__Output, _quotagate_v1_GetUsageResponse__Output>
  ListUsage: MethodDefinition<_quotagate_v1_ListUsageRequest, _quotagate_v1_ListUsageResponse, _quotagate_v1_ListUsageRequest__Output, _quotagate_v1_ListUsageResponse__Output>
  Release: MethodDefinition<_quotagate_v1_ReleaseRequest, _quotagate_v1_ReleaseResponse, _quotagate_v1_ReleaseRequest__Output, _quotagate_v1_ReleaseResponse__Output>
  Report: MethodDefinition<_quotagate_v1_ReportRequest, _quotagate_v1_ReportResponse, _quotagate_v1_ReportRequest__Output, _quotagate_v1_ReportResponse__Output>
  WatchUsage: MethodDefinition<_quotagate_v1_WatchUsageRequest, _quotagate_v1_WatchUsageResponse, _quotagate_v1_WatchUsageRequest__Output, _quotagate_v1_WatchUsageResponse__Output>
}
