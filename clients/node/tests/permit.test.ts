import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { status } from "@grpc/grpc-js";
import {
  Client,
  Closed,
  InvalidRequest,
  NotFound,
  PermissionDenied,
  PermitExpired,
  Unauthenticated,
  Unavailable,
} from "@quotagate/client";
import { failure, type Handler, PATIENT, permitMessage, startFake, until } from "./support.js";

const ASK = { org: "a", operation: "rest" };

/** A client of a service that does as the handlers say. */
async function withFake(
  handlers: Record<string, Handler>,
  use: (client: Client, fake: Awaited<ReturnType<typeof startFake>>) => Promise<void>,
): Promise<void> {
  await using fake = await startFake(handlers);
  await using client = new Client(fake.address, { ...PATIENT, caller: "test" });
  await use(client, fake);
}

describe("acquire", () => {
  test("sends what was asked for, and a request id of its own", () =>
    withFake({ acquire: () => permitMessage() }, async (client, fake) => {
      await client.acquire({ ...ASK, trafficClass: "bulk", maxWaitMs: 1_500, permitTtlMs: 2_000 });
      const [request] = fake.of("acquire");
      assert.equal(request.trafficClass, "TRAFFIC_CLASS_BULK");
      assert.deepEqual(request.maxWait, { seconds: 1, nanos: 500_000_000 });
      assert.deepEqual(request.permitTtl, { seconds: 2, nanos: 0 });
      assert.match(request.requestId, /^[0-9a-f-]{36}$/);
    }));

  test("carries the same request id in all tries", () => {
    let tries = 0;
    const acquire = () => {
      tries += 1;
      if (tries < 4) {
        throw failure(status.UNAVAILABLE);
      }
      return permitMessage();
    };
    return withFake({ acquire }, async (client, fake) => {
      await client.acquire(ASK);
      const ids = fake.of("acquire").map(({ requestId }) => requestId);
      assert.equal(ids.length, 4);
      assert.equal(new Set(ids).size, 1);
    });
  });

  test("counts a permit's life from before the first try", () => {
    let tries = 0;
    const acquire = () => {
      tries += 1;
      if (tries === 1) {
        throw failure(status.UNAVAILABLE);
      }
      return permitMessage({ ttl: { seconds: 10 } });
    };
    return withFake({ acquire }, async (client) => {
      const before = performance.now();
      const asked = client.acquire(ASK);
      const after = performance.now();
      const { deadline } = await asked;
      assert.ok(deadline >= before + 10_000 && deadline <= after + 10_000);
    });
  });

  const errors = [
    [status.INVALID_ARGUMENT, InvalidRequest],
    [status.NOT_FOUND, NotFound],
    [status.PERMISSION_DENIED, PermissionDenied],
    [status.UNAUTHENTICATED, Unauthenticated],
    [status.UNKNOWN, Unavailable],
    [status.INTERNAL, Unavailable],
    [status.RESOURCE_EXHAUSTED, Unavailable],
    [status.UNIMPLEMENTED, Unavailable],
  ] as const;
  for (const [code, type] of errors) {
    test(`${status[code]} is ${type.name}, and is not tried again`, () => {
      const acquire = () => {
        throw failure(code);
      };
      return withFake({ acquire }, async (client, fake) => {
        await assert.rejects(client.acquire(ASK), type);
        assert.equal(fake.of("acquire").length, 1);
      });
    });
  }

  test("refuses numbers that the wire would silently change", () =>
    withFake({}, async (client, fake) => {
      for (const calls of [-1, 1.5, Number.NaN, 2 ** 32]) {
        await assert.rejects(client.acquire({ ...ASK, calls }), InvalidRequest);
      }
      assert.equal(fake.requests.length, 0);
    }));

  test("an answer without a decision is an outage", () =>
    withFake({ acquire: () => ({}) }, (client) =>
      assert.rejects(client.acquire(ASK), Unavailable),
    ));

  test("is given up by its signal", () =>
    withFake({ acquire: () => new Promise(() => {}) }, async (client, fake) => {
      const controller = new AbortController();
      const asked = client.acquire({ ...ASK, maxWaitMs: 60_000, signal: controller.signal });
      const refused = assert.rejects(asked, /enough/);
      await until("it was sent", () => fake.of("acquire").length === 1);
      controller.abort(new Error("enough"));
      await refused;
    }));

  test("is refused by a client that was closed", () =>
    withFake({}, async (client) => {
      await client.close();
      await assert.rejects(client.acquire(ASK), Closed);
    }));
});

describe("a permit", () => {
  test("starts each call once, and none after its deadline", () =>
    withFake(
      { acquire: () => permitMessage({ calls: 2, ttl: { nanos: 200_000_000 } }) },
      async (client) => {
        const permit = await client.acquire({ ...ASK, calls: 2 });
        assert.equal(permit.start(), 0);
        await until("it has expired", () => permit.expired);
        assert.throws(() => permit.start(), PermitExpired);
      },
    ));

  test("starts no call after it was given back", () =>
    withFake({ acquire: () => permitMessage({ calls: 2 }) }, async (client) => {
      const permit = await client.acquire({ ...ASK, calls: 2 });
      await permit.release();
      assert.throws(() => permit.start(), PermitExpired);
    }));

  test("reports only calls that were started", () =>
    withFake({ acquire: () => permitMessage({ calls: 2 }) }, async (client) => {
      const permit = await client.acquire({ ...ASK, calls: 2 });
      permit.start();
      await assert.rejects(permit.report(1, { status: 200 }), RangeError);
      await assert.rejects(permit.report(0, { status: 200 }, 2), RangeError);
    }));

  test("reports all that an answer says", () =>
    withFake(
      {
        acquire: () => permitMessage(),
        report: () => ({ advice: "ADVICE_BACK_OFF", backOff: { seconds: 3 } }),
      },
      async (client, fake) => {
        const permit = await client.acquire(ASK);
        const settlement = await permit.report(permit.start(), {
          status: 403,
          limitInfo: ["api-usage=1/2", "x".repeat(1_025)],
          retryAfterMs: 1_250,
          answerTime: new Date("2026-01-02T03:04:05.250Z"),
          errorCode: "REQUEST_LIMIT_EXCEEDED",
          errorMessage: "no more",
          receivedAt: performance.now() - 2_000,
        });
        assert.equal(settlement.advice, "back_off");
        assert.equal(settlement.backOffMs, 3_000);
        const [{ completedAgo, ...request }] = fake.of("report");
        assert.equal(completedAgo.seconds, 2);
        assert.deepEqual(request, {
          permitId: "p",
          org: "",
          executionUser: "",
          operation: "rest",
          firstCall: 0,
          calls: 1,
          httpStatus: 403,
          errorCode: "REQUEST_LIMIT_EXCEEDED",
          errorMessage: "no more",
          retryAfter: { seconds: 1, nanos: 250_000_000 },
          limitInfo: ["api-usage=1/2"],
          answerTime: { seconds: 1_767_323_045, nanos: 250_000_000 },
        });
      },
    ));

  test("takes a Response as it is, and leaves its body to the caller", () =>
    withFake({ acquire: () => permitMessage() }, async (client, fake) => {
      const permit = await client.acquire(ASK);
      const body = JSON.stringify([{ errorCode: "API_DISABLED_FOR_ORG", message: "off" }]);
      const response = new Response(body, { status: 403, headers: { "retry-after": "7" } });
      await permit.report(permit.start(), response);
      const [request] = fake.of("report");
      assert.equal(request.errorCode, "API_DISABLED_FOR_ORG");
      assert.equal(request.errorMessage, "off");
      assert.equal(request.retryAfter.seconds, 7);
      assert.equal(await response.text(), body);
    }));

  const ends: [string, (client: Client) => Promise<void>][] = [
    [
      "withPermit",
      (client) =>
        client.withPermit({ ...ASK, calls: 3 }, (permit) => {
          permit.start();
        }),
    ],
    [
      "withPermit that throws",
      (client) =>
        assert.rejects(
          client.withPermit({ ...ASK, calls: 3 }, (permit) => {
            permit.start();
            throw new Error("of the caller");
          }),
          /of the caller/,
        ),
    ],
    [
      "await using",
      async (client) => {
        await using permit = await client.acquire({ ...ASK, calls: 3 });
        permit.start();
      },
    ],
  ];
  for (const [name, use] of ends) {
    test(`is settled by ${name}: the started as unanswered, the rest given back`, () =>
      withFake({ acquire: () => permitMessage({ calls: 3 }) }, async (client, fake) => {
        await use(client);
        await client.close();
        const [report, ...others] = fake.of("report");
        assert.deepEqual(
          { first: report.firstCall, calls: report.calls, status: report.httpStatus },
          { first: 0, calls: 1, status: 0 },
        );
        assert.deepEqual(others, []);
        assert.deepEqual(
          fake.of("release").map(({ unusedCalls }) => unusedCalls),
          [2],
        );
      }));
  }

  test("of which nothing was sent is given back without a number", () =>
    withFake({ acquire: () => permitMessage({ calls: 3 }) }, async (client, fake) => {
      await client.withPermit({ ...ASK, calls: 3 }, (permit) => permit.unsent(permit.start()));
      await client.close();
      const [request] = fake.of("release");
      assert.equal(request._unusedCalls, undefined);
      assert.deepEqual(fake.of("report"), []);
    }));

  test("that is over is not given back", () =>
    withFake(
      { acquire: () => permitMessage({ ttl: { nanos: 50_000_000 } }) },
      async (client, fake) => {
        await client.withPermit(ASK, (permit) => until("it is over", () => permit.expired));
        await client.close();
        assert.deepEqual(fake.of("release"), []);
      },
    ));
});

describe("settling", () => {
  test("goes on in the background until the service takes it", () => {
    let tries = 0;
    const report = () => {
      tries += 1;
      if (tries < 3) {
        throw failure(status.RESOURCE_EXHAUSTED);
      }
      return { advice: "ADVICE_CONTINUE" };
    };
    return withFake({ acquire: () => permitMessage(), report }, async (client) => {
      const permit = await client.acquire(ASK);
      assert.equal((await permit.report(permit.start(), { status: 200 })).delivered, true);
      assert.equal(tries, 3);
    });
  });

  test("ends with the permit's life, and fails nobody", () => {
    const report = () => {
      throw failure(status.INTERNAL);
    };
    const acquire = () => permitMessage({ ttl: { nanos: 300_000_000 } });
    return withFake({ acquire, report }, async (client) => {
      const permit = await client.acquire(ASK);
      const settlement = await permit.report(permit.start(), { status: 200 });
      assert.deepEqual(settlement, { delivered: false, alreadySettled: false, advice: "continue" });
    });
  });

  test("is not repeated where it was refused for good", () => {
    const report = () => {
      throw failure(status.INVALID_ARGUMENT);
    };
    return withFake({ acquire: () => permitMessage(), report }, async (client, fake) => {
      const permit = await client.acquire(ASK);
      assert.equal((await permit.report(permit.start(), { status: 200 })).delivered, false);
      assert.equal(fake.of("report").length, 1);
    });
  });

  test("drops the oldest beyond 1,000", () => {
    const acquire = () => permitMessage({ calls: 1_100 });
    const report = () => new Promise(() => {});
    return withFake({ acquire, report }, async (client) => {
      const permit = await client.acquire({ ...ASK, calls: 1_100 });
      let dropped = 0;
      for (let call = 0; call < 1_100; call += 1) {
        void permit.report(permit.start(), { status: 200 }).then(() => {
          dropped += 1;
        });
      }
      await until("the oldest are dropped", () => dropped === 100);
    });
  });

  test("is waited for by close, for 2 s at most", () => {
    const report = () => new Promise(() => {});
    return withFake({ acquire: () => permitMessage(), report }, async (client) => {
      const permit = await client.acquire(ASK);
      void permit.report(permit.start(), { status: 200 });
      const before = performance.now();
      await client.close();
      assert.ok(performance.now() - before < 2_500);
    });
  });
});
