// Runs clients/conformance/scenarios.json, as its README says.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { status } from "@grpc/grpc-js";
import {
  type AcquireOptions,
  Client,
  Denied,
  defaultRules,
  InvalidRequest,
  type Permit,
  PermitExpired,
  quotagateErrorOf,
} from "@quotagate/client";
import { Connection } from "jsforce";
import {
  CONFORMANCE,
  type Message,
  PATIENT,
  type Program,
  Stub,
  startService,
  startStandIn,
} from "./support.js";

type Json = Message;
interface Scenario {
  readonly name: string;
  readonly org: string;
  readonly steps: Json[];
}

const file = JSON.parse(readFileSync(join(CONFORMANCE, "scenarios.json"), "utf8"));
const scenarios = file.scenarios as Scenario[];

describe("the default rules tell operations apart", () => {
  for (const { method, url, body, operation, cost } of file.classify) {
    test(`${method} ${url} ${body?.slice(0, 40) ?? ""}`, () => {
      const actual = defaultRules({ method, url, body });
      assert.equal(actual?.operation ?? null, operation);
      assert.equal(actual?.cost ?? 1, cost);
    });
  }
});

for (const adapter of ["fetch", "jsforce"] as const) {
  describe(`scenarios, with the adapter for ${adapter}`, () => {
    let service: Program;
    let standIn: Program;
    before(async () => {
      [service, standIn] = await Promise.all([startService("config.yaml"), startStandIn()]);
    });
    after(async () => {
      await service?.[Symbol.asyncDispose]();
      await standIn?.[Symbol.asyncDispose]();
    });
    for (const scenario of scenarios) {
      // What does not concern adapters need not be run twice.
      if (adapter === "jsforce" && !scenario.steps.some((step) => step.http)) {
        continue;
      }
      test(scenario.name, async () => {
        const run = new Run(scenario.org, service.address("gRPC"), standIn, adapter);
        try {
          for (const [index, step] of scenario.steps.entries()) {
            await run.step(step).catch((error) => {
              error.message = `step ${index}, ${JSON.stringify(step)}: ${error.message}`;
              throw error;
            });
          }
        } finally {
          await run.close();
        }
      });
    }
  });
}

/** One run of one scenario. */
class Run {
  readonly #client: Client;
  readonly #stub: Stub;
  /** Ids of permits by the name that `as` gives. */
  readonly #ids = new Map<string, string>();

  constructor(
    readonly org: string,
    readonly server: string,
    readonly standIn: Program,
    readonly adapter: "fetch" | "jsforce",
  ) {
    this.#client = new Client(server, PATIENT);
    this.#stub = new Stub(server);
  }

  async close() {
    this.#stub.close();
    await this.#client.close();
  }

  async step({ as, expect, ...step }: Json): Promise<void> {
    const [kind, args] = Object.entries(step)[0] as [string, Json];
    switch (kind) {
      case "acquire":
      case "check":
      case "guard": {
        const outcome = await this[kind](args).then(
          (permit) => ({ permit }),
          (error) => ({ error }),
        );
        this.#matchDecision(expect, outcome, as);
        return;
      }
      case "release":
      case "report": {
        const outcome = await this.#stub.call(kind, this.#settlement(args)).then(
          (answer) => ({ answer }),
          (error) => ({ error }),
        );
        if ("error" in outcome) {
          matchError(expect, outcome.error);
        } else {
          assert.ok(!expect.error, "it was accepted");
          matchFields(expect, outcome.answer);
        }
        return;
      }
      case "usage":
        return this.usage(args, expect);
      case "http":
        return this.http(args, expect);
      default:
        assert.fail(`unknown step ${kind}`);
    }
  }

  acquire(args: Json): Promise<Permit> {
    return this.#client.acquire(this.#options(args));
  }

  async check(args: Json): Promise<Json> {
    const { trafficClass, maxWaitMs: _, permitTtlMs: __, ...rest } = this.#options(args);
    const { permit, denial } = await this.#stub.call("acquire", {
      ...rest,
      ...(trafficClass && { trafficClass: `TRAFFIC_CLASS_${trafficClass.toUpperCase()}` }),
      mode: "ACQUIRE_MODE_CHECK_ONLY",
    });
    if (denial) {
      throw new Denied({
        ...denial,
        reason: denial.reason.replace("DENIAL_REASON_", ""),
        retryAfterMs: denial.retryAfter ? ms(denial.retryAfter) : undefined,
      });
    }
    return { ...permit, id: permit.permitId, ttlMs: ms(permit.ttl) };
  }

  async guard(args: Json): Promise<Permit> {
    const client = new Client(this.server, PATIENT);
    let taken: Permit | undefined;
    try {
      await client.withPermit(this.#options(args), async (permit) => {
        taken = permit;
        for (let call = 0; call < (args.start ?? 0); call += 1) {
          assert.equal(permit.start(), call);
        }
        if (args.start_beyond) {
          assert.throws(() => permit.start(), PermitExpired);
        }
        for (const [call, answer] of (args.answers ?? []).entries()) {
          await permit.report(call, {
            status: answer.http_status,
            errorCode: answer.error_code,
            errorMessage: answer.error_message,
            limitInfo: answer.limit_info,
            retryAfterMs: answer.retry_after_s && answer.retry_after_s * 1_000,
          });
        }
        if (args.throw) {
          throw new Error("of the guarded code");
        }
      });
    } catch (error) {
      if (!args.throw || !taken) {
        throw error;
      }
    } finally {
      await client.close();
    }
    assert.ok(taken);
    return taken;
  }

  async usage(args: Json, expect: Json): Promise<void> {
    for (let tries = 0; ; tries += 1) {
      const usage = await this.#client.getUsage(this.org);
      const workspace = usage.workspaces.find((each) => each.workspace === args.identity);
      const user = usage.executionUsers.find((each) => each.executionUser === args.identity);
      const owner = { ORG: usage, WORKSPACE: workspace, EXECUTION_USER: user }[
        args.scope as "ORG" | "WORKSPACE" | "EXECUTION_USER"
      ];
      const limit = owner?.limits.find(
        ({ name, scope }) => name === args.limit && scope === args.scope.toLowerCase(),
      );
      try {
        const { paused, warnings, ...figures } = expect;
        matchFields(figures, limit ?? new Proxy({}, { get: () => 0 }));
        matchClasses({ paused, warnings }, workspace?.classState);
        return;
      } catch (error) {
        if (tries === 100) {
          throw error;
        }
      }
      await sleep(50);
    }
  }

  async http(args: Json, expect: Json): Promise<void> {
    const before = await this.#arrivals();
    for (let times = args.times ?? 1; times > 0; times -= 1) {
      const { error, ...answer } = await this.#send(args);
      if (expect.denied) {
        assert.ok(isLibrarysOwn(this.adapter, error), `${error} is not of the HTTP library`);
        this.#matchDecision({ denied: expect.denied }, { error: quotagateErrorOf(error) });
      } else {
        assert.ok(answer.status, `${error}`);
        matchFields({ status: expect.status, error_code: expect.error_code }, answer);
      }
    }
    if (expect.sent !== undefined) {
      assert.equal((await this.#arrivals()) - before, expect.sent, "requests sent");
    }
  }

  /** The status and error code of an answer, or what was thrown. */
  async #send(args: Json): Promise<{ status?: number; errorCode?: string; error?: unknown }> {
    const options = {
      org: this.org,
      executionUser: args.user,
      workspace: args.workspace,
      trafficClass: args.traffic_class,
    };
    const token = `${this.org}!${args.user}`;
    const origin = this.standIn.address("stand-in");
    const body = args.batch && JSON.stringify({ batchRequests: Array(args.batch).fill({}) });
    const client = new Client(this.server, PATIENT);
    try {
      if (this.adapter === "fetch") {
        const send = args.direct ? fetch : client.fetch(options);
        const response = await send(origin + args.path, {
          method: args.method,
          headers: { Authorization: `Bearer ${token}` },
          body,
        });
        const answer = await response.text();
        const [error] = response.ok ? [] : (JSON.parse(answer) as Json[]);
        return { status: response.status, errorCode: error?.errorCode };
      }
      const connection = new Connection({ instanceUrl: origin, accessToken: token });
      if (!args.direct) {
        client.jsforce(connection, options);
      }
      // Of jsforce's answers the status is seen here only.
      let status: number | undefined;
      const transport = connection._transport;
      connection._transport = Object.create(transport, {
        httpRequest: {
          value: (...request: Parameters<typeof transport.httpRequest>) => {
            const exchange = transport.httpRequest(...request);
            exchange.then(
              (response) => {
                status = response.statusCode;
              },
              () => {},
            );
            return exchange;
          },
        },
      });
      try {
        await connection.request({ method: args.method, url: origin + args.path, body });
        return { ...(status && { status }) };
      } catch (error) {
        return { ...(status && { status }), errorCode: (error as Json).errorCode, error };
      }
    } catch (error) {
      return { error };
    } finally {
      await client.close();
    }
  }

  async #arrivals(): Promise<number> {
    const response = await fetch(`${this.standIn.address("stand-in")}/standin`);
    return ((await response.json()) as { arrivals: number }).arrivals;
  }

  #options(args: Json): AcquireOptions {
    return {
      org: args.org ?? this.org,
      operation: args.operation,
      workspace: args.workspace,
      executionUser: args.execution_user,
      trafficClass: args.traffic_class,
      calls: args.calls,
      minCalls: args.min_calls,
      cost: args.cost,
      maxWaitMs: args.max_wait_s && args.max_wait_s * 1_000,
      permitTtlMs: args.permit_ttl_s && args.permit_ttl_s * 1_000,
      requestId: args.request_id,
    };
  }

  #settlement({ permit, permit_id, retry_after_s, ...fields }: Json): Json {
    const id = permit_id ?? (permit && this.#ids.get(permit));
    return {
      ...Object.fromEntries(Object.entries(fields).map(([name, value]) => [camel(name), value])),
      ...(id === undefined ? { org: this.org } : { permitId: id }),
      ...(retry_after_s && { retryAfter: { seconds: retry_after_s } }),
      completedAgo: {},
    };
  }

  #matchDecision(expect: Json, outcome: { permit?: Json; error?: unknown }, as?: string): void {
    const { permit, error } = outcome;
    if (expect.permit) {
      assert.ok(permit, `${error}`);
      const { id, limit, paused, warnings, ...fields } = expect.permit;
      const ttlMs = permit.ttlMs ?? permit.deadline - performance.now();
      matchFields(fields, {
        ...permit,
        ttlMs,
        calls: permit.calls,
        executionUser: permit.executionUser,
      });
      matchClasses({ paused, warnings }, permit.classState);
      if (id === null) {
        assert.equal(permit.id, "");
      } else if (id === true) {
        assert.ok(permit.id && ![...this.#ids.values()].includes(permit.id));
      } else if (id !== undefined) {
        assert.equal(permit.id, this.#ids.get(id));
      }
      if (limit) {
        const matching = permit.limits.filter((each: Json) => matches(limit, each));
        assert.ok(matching.length > 0, `no limit matches: ${JSON.stringify(permit.limits)}`);
      }
      if (as) {
        this.#ids.set(as, permit.id);
      }
    } else if (expect.denied) {
      assert.ok(error instanceof Denied, `${error ?? "granted"}`);
      const { limit, paused, warnings, ...fields } = expect.denied;
      matchFields(fields, { ...error, reason: error.reason });
      matchClasses({ paused, warnings }, error.classState);
      if (limit) {
        matchFields(limit, error.limit ?? {});
      }
    } else {
      matchError(expect, error);
    }
  }
}

/** Whether a caller that knows nothing of this package takes it for the HTTP library's error. */
function isLibrarysOwn(adapter: "fetch" | "jsforce", error: unknown): boolean {
  return adapter === "fetch"
    ? error instanceof TypeError
    : error instanceof Error && typeof (error as Json).errorCode === "string";
}

function matchError(expect: Json, error: unknown): void {
  assert.ok(error instanceof Error, "it was accepted");
  const cause = (error.cause ?? error) as Json;
  assert.equal(status[cause.code], expect.error.code, error.message);
  if (expect.error.fields && error instanceof InvalidRequest) {
    assert.deepEqual(
      error.violations.map(({ field }) => field),
      expect.error.fields,
    );
  }
}

function matchClasses({ paused, warnings }: Json, state: Json): void {
  if (paused) {
    const actual = (state?.classes ?? [])
      .filter((each: Json) => each.paused ?? each.state === "CLASS_RUN_STATE_PAUSED")
      .map((each: Json) => each.trafficClass.replace("TRAFFIC_CLASS_", "").toLowerCase());
    assert.deepEqual(actual.sort(), [...paused].sort(), "paused");
  }
  if (warnings) {
    const actual = (state?.warnings ?? []).map(({ kind }: Json) =>
      kind.replace("WARNING_KIND_", ""),
    );
    assert.deepEqual(actual.sort(), [...warnings].sort(), "warnings");
  }
}

function matchFields(expect: Json, actual: Json): void {
  for (const [name, value] of Object.entries(expect)) {
    if (value !== undefined) {
      assert.ok(
        matchesValue(value, field(name, actual)),
        `${name} is ${field(name, actual)}, not ${JSON.stringify(value)}`,
      );
    }
  }
}

function matches(expect: Json, actual: Json): boolean {
  return Object.entries(expect).every(([name, value]) => matchesValue(value, field(name, actual)));
}

/** A field by its name in the file; times in seconds, enumerations as the file has them. */
function field(name: string, actual: Json): Json {
  if (name.endsWith("_s")) {
    const base = camel(name.slice(0, -2));
    const milliseconds = actual[`${base}Ms`] ?? (actual[base] && ms(actual[base]));
    return milliseconds === undefined || milliseconds === null ? undefined : milliseconds / 1_000;
  }
  const value = actual[camel(name)];
  if (name === "scope" || name === "kind") {
    return value?.replace(/^LIMIT_(KIND|SCOPE)_/, "").toUpperCase();
  }
  return name === "advice" ? value?.replace("ADVICE_", "") : value;
}

function matchesValue(expect: Json, actual: Json): boolean {
  if (Array.isArray(expect)) {
    return actual >= expect[0] && actual <= expect[1];
  }
  if (expect === null) {
    return actual === undefined || actual === null;
  }
  return typeof expect === "boolean" && typeof actual !== "boolean"
    ? expect === (actual !== undefined)
    : expect === actual;
}

function camel(name: string): string {
  return name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
}

function ms(duration: Json): number {
  return duration.seconds * 1_000 + duration.nanos / 1_000_000;
}
