import {
  type ChannelCredentials,
  type ChannelOptions,
  credentials as channelCredentials,
  loadPackageDefinition,
  Metadata,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import { fromJSON, type MessageTypeDefinition } from "@grpc/proto-loader";
import { fromDuration, present } from "./convert.js";
import {
  InvalidRequest,
  NotFound,
  PermissionDenied,
  type QuotagateError,
  Unauthenticated,
  Unavailable,
} from "./errors.js";
import { descriptor } from "./generated/descriptor.js";
import type { Duration__Output } from "./generated/google/protobuf/Duration.js";
import type { ProtoGrpcType } from "./generated/quota.js";
import type { AcquireRequest } from "./generated/quotagate/v1/AcquireRequest.js";
import type { AcquireResponse__Output } from "./generated/quotagate/v1/AcquireResponse.js";
import type { GetUsageRequest } from "./generated/quotagate/v1/GetUsageRequest.js";
import type { GetUsageResponse__Output } from "./generated/quotagate/v1/GetUsageResponse.js";
import type { QuotaServiceClient } from "./generated/quotagate/v1/QuotaService.js";
import type { ReleaseRequest } from "./generated/quotagate/v1/ReleaseRequest.js";
import type { ReleaseResponse__Output } from "./generated/quotagate/v1/ReleaseResponse.js";
import type { ReportRequest } from "./generated/quotagate/v1/ReportRequest.js";
import type { ReportResponse__Output } from "./generated/quotagate/v1/ReportResponse.js";
import { serviceConfig } from "./generated/service-config.js";

/** How to reach the service. */
export interface ChannelConfig {
  /** Names this process in the service's figures; it gives no right. */
  readonly caller?: string | undefined;
  /** Default: no encryption. */
  readonly credentials?: ChannelCredentials | undefined;
  /** Added to, and before, what this package sets. */
  readonly channelOptions?: ChannelOptions | undefined;
}

const packageDefinition = fromJSON(descriptor as Parameters<typeof fromJSON>[0], {
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
});
const { QuotaService } = (loadPackageDefinition(packageDefinition) as unknown as ProtoGrpcType)
  .quotagate.v1;

// Retries and balancing are gRPC's own, by the service config. Of the latter
// grpc-js does not know `healthCheckConfig`: a server that is about to leave says
// so by GOAWAY or UNAVAILABLE, upon which the next try goes to another one.
const CHANNEL_OPTIONS: ChannelOptions = {
  "grpc.service_config": JSON.stringify(serviceConfig),
  "grpc.service_config_disable_resolution": 1,
  "grpc.enable_retries": 1,
  // The service is a neighbour; a proxy for the way out is none for it.
  "grpc.enable_http_proxy": 0,
  // An outage ends when the service is back, not up to two minutes later.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 2_000,
  "grpc.dns_min_time_between_resolutions_ms": 5_000,
  // A machine that vanished without a word is noticed within 15 s.
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 5_000,
  // Two clients of one process are two callers.
  "grpc.use_local_subchannel_pool": 1,
};

/** The service's methods as promises that reject with this package's errors. */
export class Rpc {
  readonly #client: QuotaServiceClient;
  readonly #metadata = new Metadata();

  constructor(servers: string | readonly string[], config: ChannelConfig) {
    this.#client = new QuotaService(
      target(typeof servers === "string" ? [servers] : servers),
      config.credentials ?? channelCredentials.createInsecure(),
      { ...CHANNEL_OPTIONS, ...config.channelOptions },
    );
    if (config.caller) {
      this.#metadata.set("quotagate-caller", config.caller);
    }
  }

  acquire(request: AcquireRequest, timeoutMs: number, signal?: AbortSignal) {
    return this.#unary<AcquireRequest, AcquireResponse__Output>(
      this.#client.acquire,
      request,
      timeoutMs,
      signal,
    );
  }

  release(request: ReleaseRequest, timeoutMs: number, signal?: AbortSignal) {
    return this.#unary<ReleaseRequest, ReleaseResponse__Output>(
      this.#client.release,
      request,
      timeoutMs,
      signal,
    );
  }

  report(request: ReportRequest, timeoutMs: number, signal?: AbortSignal) {
    return this.#unary<ReportRequest, ReportResponse__Output>(
      this.#client.report,
      request,
      timeoutMs,
      signal,
    );
  }

  getUsage(request: GetUsageRequest, timeoutMs: number) {
    return this.#unary<GetUsageRequest, GetUsageResponse__Output>(
      this.#client.getUsage,
      request,
      timeoutMs,
    );
  }

  close(): void {
    this.#client.close();
  }

  #unary<Request, Response>(
    method: unknown,
    request: Request,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<Response> {
    const call = method as (
      request: Request,
      metadata: Metadata,
      options: { deadline: number },
      callback: (error: ServiceError | null, response?: Response) => void,
    ) => { cancel(): void };
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const settle = (error: ServiceError | null, response?: Response) => {
        signal?.removeEventListener("abort", cancel);
        if (error === null && response !== undefined) {
          resolve(response);
        } else if (signal?.aborted) {
          reject(signal.reason);
        } else {
          reject(failure(error));
        }
      };
      const options = { deadline: Date.now() + timeoutMs };
      const ongoing = call.call(this.#client, request, this.#metadata, options, settle);
      const cancel = () => ongoing.cancel();
      signal?.addEventListener("abort", cancel, { once: true });
    });
  }
}

const IPV4 = /^\d{1,3}(?:\.\d{1,3}){3}:\d+$/;
const IPV6 = /^\[[0-9a-fA-F:.]+\]:\d+$/;
const NAME = /^[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\.?:\d+$/;

/** What gRPC calls the target: one name that DNS resolves, or several addresses. */
function target(servers: readonly string[]): string {
  const [first] = servers;
  if (servers.length > 0 && servers.every((server) => IPV4.test(server))) {
    return `ipv4:${servers.join(",")}`;
  }
  if (servers.length > 0 && servers.every((server) => IPV6.test(server))) {
    return `ipv6:${servers.join(",")}`;
  }
  if (servers.length === 1 && first !== undefined && NAME.test(first)) {
    return `dns:///${first}`;
  }
  throw new TypeError(
    `${JSON.stringify(servers)} are no servers: one HOST:PORT, whose name may have several addresses, or several IP:PORT of one family`,
  );
}

interface StatusDetails {
  details: { typeUrl: string; value: Buffer }[];
}

/** The error of this package for one of gRPC. What is nobody's fault is an outage. */
function failure(error: ServiceError | null): QuotagateError {
  if (error === null) {
    return new Unavailable("the service sent no answer");
  }
  const options = { cause: error };
  const message = error.details || error.message;
  switch (error.code) {
    case status.INVALID_ARGUMENT: {
      const request = detail<{ fieldViolations: { field: string; description: string }[] }>(
        error,
        "google.rpc.BadRequest",
      );
      const violations = request?.fieldViolations ?? [];
      return new InvalidRequest(
        message,
        violations.map(({ field, description }) => ({ field, description })),
        options,
      );
    }
    case status.PERMISSION_DENIED:
      return new PermissionDenied(message, options);
    case status.UNAUTHENTICATED:
      return new Unauthenticated(message, options);
    case status.NOT_FOUND:
      return new NotFound(message, options);
    default: {
      const retry = detail<{ retryDelay: Duration__Output | null }>(error, "google.rpc.RetryInfo");
      const retryAfterMs = present(retry?.retryDelay, fromDuration);
      return new Unavailable(`${status[error.code]}: ${message}`, { ...options, retryAfterMs });
    }
  }
}

function detail<T>(error: ServiceError, name: string): T | undefined {
  const [encoded] = error.metadata?.get("grpc-status-details-bin") ?? [];
  if (!Buffer.isBuffer(encoded)) {
    return undefined;
  }
  try {
    const { details } = decode<StatusDetails>("google.rpc.Status", encoded);
    const found = details.find(({ typeUrl }) => typeUrl === `type.googleapis.com/${name}`);
    return found && decode<T>(name, found.value);
  } catch {
    // A stranger's details, or damaged ones: the status says enough.
    return undefined;
  }
}

function decode<T>(name: string, bytes: Buffer): T {
  return (packageDefinition[name] as unknown as MessageTypeDefinition<T, T>).deserialize(bytes);
}
