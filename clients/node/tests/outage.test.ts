import assert from "node:assert/strict";
import type { Socket } from "node:net";
import { describe, test } from "node:test";
import { status } from "@grpc/grpc-js";
import { Client, type ClientOptions, type OutagePolicy, Unavailable } from "@quotagate/client";
import {
  failure,
  kill,
  type Message,
  nobodysAddress,
  PATIENT,
  permitMessage,
  startFake,
  startService,
  startTcp,
  until,
} from "./support.js";

const TIMEOUT_MS = 1_000;
/** Within which a policy has to have decided. */
const LATEST_MS = TIMEOUT_MS + 500;
const ASK = { org: "a", operation: "rest", executionUser: "ann" };

const POLICIES: OutagePolicy[] = ["closed", "open", { safe: { processes: 1 } }];

/** Asks while the service cannot decide, and looks at what each policy does, and when. */
async function assertPolicies(server: string): Promise<void> {
  await Promise.all(POLICIES.map((policy) => assertPolicy(server, policy)));
}

async function assertPolicy(server: string, policy: OutagePolicy): Promise<void> {
  const warnings: string[] = [];
  const warn = (message: string) => warnings.push(message);
  await using client = new Client(server, { timeoutMs: TIMEOUT_MS, outage: policy, warn });
  for (let time = 0; time < 2; time += 1) {
    const before = performance.now();
    const outcome = await client.acquire(ASK).catch((error) => error);
    assert.ok(performance.now() - before < LATEST_MS, "within the deadline");
    if (policy === "open") {
      assert.equal(outcome.origin, "outage");
      assert.equal(outcome.id, "");
      assert.equal(outcome.executionUser, "ann");
    } else {
      // A question that was never answered has no safe capacity either.
      assert.ok(outcome instanceof Unavailable, String(outcome));
    }
  }
  assert.equal(warnings.length, policy === "closed" ? 0 : 1, "warned of once");
}

describe("an outage", () => {
  test("of a service that is not there", async () => {
    await assertPolicies(await nobodysAddress());
  });

  test("of a service that accepts and never answers", async () => {
    await using server = await startTcp(() => {});
    await assertPolicies(server.address);
  });

  test("of a service that hangs up", async () => {
    await using server = await startTcp((socket) => socket.destroy());
    await assertPolicies(server.address);
  });

  const garbage: [string, (socket: Socket) => void][] = [
    ["garbage", (socket) => socket.write(Buffer.alloc(100_000, 0xa5))],
    ["HTTP/1.1", (socket) => socket.end("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")],
    // A frame of settings, and then one that is longer than it may be.
    ["bad HTTP/2", (socket) => socket.write(Buffer.from("000000040000000000ffffff0009ff", "hex"))],
  ];
  for (const [what, onConnection] of garbage) {
    test(`of a service that answers ${what}`, async () => {
      await using server = await startTcp(onConnection);
      await assertPolicies(server.address);
    });
  }

  test("of a service that was killed, which ends when it is back", async () => {
    await using service = await startService("outage.yaml");
    const address = service.address("gRPC");
    await using client = new Client(address, PATIENT);
    assert.equal((await client.acquire(ASK)).origin, "service");
    await kill(service.child);
    await assert.rejects(client.acquire(ASK), Unavailable);
    await using _again = await startService("outage.yaml", address);
    await until("it is back", () => client.acquire(ASK).then(Boolean, () => false));
  });

  test("does not come while one of several servers is there", async () => {
    await using first = await startService("outage.yaml");
    await using second = await startService("outage.yaml");
    const servers = [first.address("gRPC"), second.address("gRPC")];
    await using client = new Client(servers, PATIENT);
    for (let time = 0; time < 10; time += 1) {
      await client.acquire(ASK);
    }
    await kill(first.child);
    for (let time = 0; time < 20; time += 1) {
      assert.equal((await client.acquire(ASK)).origin, "service");
    }
  });

  test("spreads requests over all servers before", async () => {
    await using first = await startFake({ acquire: () => permitMessage() });
    await using second = await startFake({ acquire: () => permitMessage() });
    await using client = new Client([first.address, second.address], PATIENT);
    await until("both were asked", async () => {
      await client.acquire(ASK);
      return first.requests.length > 0 && second.requests.length > 0;
    });
  });

  test("is no matter of denials", async () => {
    const denial = { reason: "DENIAL_REASON_ORG_LIMIT" };
    await using fake = await startFake({ acquire: () => ({ denial }) });
    await using client = new Client(fake.address, { ...PATIENT, outage: "open" });
    await assert.rejects(client.acquire(ASK), { name: "Denied" });
  });

  test("has a policy for each class", async () => {
    const outage = { interactive: "open", control: "open" } as const;
    await using client = new Client(await nobodysAddress(), { outage, warn() {} });
    await assert.rejects(client.acquire(ASK), Unavailable);
    await assert.rejects(client.acquire({ ...ASK, trafficClass: "bulk" }), Unavailable);
    const permit = await client.acquire({ ...ASK, trafficClass: "interactive", calls: 7 });
    assert.equal(permit.calls, 7);
    assert.equal(permit.start(), 0);
    assert.equal((await permit.report(0, { status: 200 })).delivered, true);
  });

  for (const outage of ["ajar", { safe: { processes: 0 } }, { bulk: "never" }]) {
    test(`has no policy ${JSON.stringify(outage)}`, () => {
      const options = { outage } as unknown as ClientOptions;
      assert.throws(() => new Client("127.0.0.1:1", options), TypeError);
    });
  }
});

/** A limit of 90 in 2 s, of which 18 are never granted. */
const ENTRIES = {
  name: "entries",
  kind: "LIMIT_KIND_WINDOW",
  scope: "LIMIT_SCOPE_EXECUTION_USER",
  identity: "ann",
  max: 90,
  outageShare: 18,
  window: { seconds: 1 },
};

type Use = (client: Client, ask: Parameters<Client["acquire"]>[0]) => Promise<void>;

/** A client with safe capacity, two processes sharing, whose service answers once and then fails. */
function inOutage(limits: Message[], use: Use): Promise<void> {
  return inOutageAfter([permitMessage({ limits })], use);
}

/** The same, whose service has given these answers to the same question. */
async function inOutageAfter(given: Message[], use: Use): Promise<void> {
  const answers = [...given];
  const acquire = () => {
    if (answers.length === 0) {
      throw failure(status.INTERNAL);
    }
    return answers.shift();
  };
  await using fake = await startFake({ acquire });
  const outage = { safe: { processes: 2 } };
  await using client = new Client(fake.address, { ...PATIENT, outage, warn() {} });
  for (const { denial } of given) {
    const asked = client.acquire(ASK);
    await (denial ? assert.rejects(asked, { name: "Denied" }) : asked);
  }
  await use(client, ASK);
}

describe("safe capacity", () => {
  test("is this process's part of the share", () =>
    inOutage([ENTRIES], async (client, ask) => {
      assert.equal((await client.acquire({ ...ask, calls: 9 })).origin, "outage");
      await assert.rejects(client.acquire(ask), Unavailable);
    }));

  test("is all or nothing, or as few calls as are of use", () =>
    inOutage([ENTRIES], async (client, ask) => {
      await assert.rejects(client.acquire({ ...ask, calls: 10 }), Unavailable);
      assert.equal((await client.acquire({ ...ask, calls: 10, minCalls: 1 })).calls, 9);
    }));

  test("comes back when what was answered has left the window", () =>
    inOutage([ENTRIES], async (client, ask) => {
      await client.withPermit({ ...ask, calls: 9 }, async (permit) => {
        for (let call = 0; call < 9; call += 1) {
          await permit.report(permit.start(), { status: 200 });
        }
      });
      const answered = performance.now();
      await assert.rejects(client.acquire(ask), Unavailable);
      await until("the window has passed", () => client.acquire(ask).then(Boolean, () => false));
      assert.ok(performance.now() - answered > 950);
    }));

  test("comes back at once if nothing was sent", () =>
    inOutage([ENTRIES], async (client, ask) => {
      await client.withPermit({ ...ask, calls: 9 }, (permit) => permit.start());
      assert.equal((await client.acquire({ ...ask, calls: 8 })).calls, 8);
      await assert.rejects(client.acquire(ask), Unavailable);
    }));

  test("takes a call's cost of windows, and one of slots", () =>
    inOutage(
      [ENTRIES, { ...ENTRIES, name: "long", kind: "LIMIT_KIND_CONCURRENCY", outageShare: 4 }],
      async (client, ask) => {
        const first = await client.acquire({ ...ask, cost: 4 });
        const second = await client.acquire({ ...ask, cost: 4 });
        await assert.rejects(client.acquire(ask), /long/);
        await first.report(first.start(), { status: 200 });
        await assert.rejects(client.acquire({ ...ask, cost: 4 }), /entries/);
        assert.equal((await client.acquire(ask)).origin, "outage");
        second.settle();
      },
    ));

  test("is nothing where a limit has no share, and anything where it has no cap", async () => {
    await inOutage([ENTRIES, { ...ENTRIES, name: "other", outageShare: 0 }], (client, ask) =>
      assert.rejects(client.acquire(ask), Unavailable),
    );
    await inOutage([{ ...ENTRIES, max: 0, outageShare: 0 }], async (client, ask) => {
      assert.equal((await client.acquire({ ...ask, calls: 1_000 })).calls, 1_000);
    });
  });

  /** The org's total, which leaves more than `ENTRIES`. */
  const TOTAL = { ...ENTRIES, name: "calls", scope: "LIMIT_SCOPE_ORG", identity: "a", max: 900 };
  const denial = (reason: string, limits: Message[]) => ({
    denial: { reason: `DENIAL_REASON_${reason}`, limits },
  });
  const total = { ...TOTAL, outageShare: 180 };
  const lesser: [string, Message[]][] = [
    ["a full queue", [denial("QUEUE_FULL", [total])]],
    ["a full queue that names no limit", [denial("QUEUE_FULL", [])]],
    ["a denial without the user's limits", [denial("ORG_LIMIT", [total])]],
  ];
  for (const [what, later] of lesser) {
    test(`is not made larger by ${what}`, () =>
      inOutageAfter(
        [permitMessage({ limits: [total, ENTRIES] }), ...later],
        async (client, ask) => {
          await assert.rejects(client.acquire({ ...ask, calls: 10 }), Unavailable);
          assert.equal((await client.acquire({ ...ask, calls: 9 })).calls, 9);
        },
      ));
  }

  test("is nothing where only a full queue was ever heard of, or no limit named", async () => {
    for (const answers of [
      [denial("QUEUE_FULL", [total])],
      [denial("ORG_LIMIT", [])],
      [permitMessage()],
    ]) {
      await inOutageAfter(answers, (client, ask) =>
        assert.rejects(client.acquire(ask), Unavailable),
      );
    }
  });

  test("is known from a denial that names all limits", () =>
    inOutageAfter([denial("ORG_LIMIT", [total, ENTRIES])], async (client, ask) => {
      assert.equal((await client.acquire({ ...ask, calls: 9 })).executionUser, "ann");
      await assert.rejects(client.acquire(ask), Unavailable);
    }));

  test("is not bounded by a limit in shadow", () =>
    inOutage([ENTRIES, { ...ENTRIES, name: "tried", outageShare: 0, shadow: {} }], (client, ask) =>
      client.acquire({ ...ask, calls: 9 }).then(({ calls }) => assert.equal(calls, 9)),
    ));

  test("is one for both spellings of a Salesforce id", async () => {
    const short = { org: "00D3h000007R1Lu", executionUser: "0053V000000vD5q" };
    const long = { org: "00D3h000007R1LuEAK", executionUser: "0053V000000vD5qQAE" };
    const shouted = { org: "00D3h000007R1Lueak", executionUser: "0053V000000vD5qqae" };
    const limits = [{ ...ENTRIES, identity: long.executionUser }];
    let isGone = false;
    const acquire = () => {
      if (isGone) {
        throw failure(status.INTERNAL);
      }
      return permitMessage({ limits });
    };
    await using fake = await startFake({ acquire });
    const outage = { safe: { processes: 2 } };
    await using client = new Client(fake.address, { ...PATIENT, outage, warn() {} });
    await client.acquire({ ...ASK, ...short });
    isGone = true;
    assert.equal((await client.acquire({ ...ASK, ...long, calls: 4 })).calls, 4);
    assert.equal((await client.acquire({ ...ASK, ...shouted, calls: 4 })).calls, 4);
    assert.equal((await client.acquire({ ...ASK, ...short })).calls, 1);
    await assert.rejects(client.acquire({ ...ASK, ...short }), /used up/);
    // The case of what is before the suffix tells ids apart.
    const other = { ...long, org: "00d3h000007R1LuEAK" };
    await assert.rejects(client.acquire({ ...ASK, ...other }), /never answered/);
  });

  test("is of the same question only", () =>
    inOutage([ENTRIES], async (client, ask) => {
      for (const other of [{ org: "b" }, { operation: "x" }, { executionUser: "bob" }]) {
        await assert.rejects(client.acquire({ ...ask, ...other }), Unavailable);
      }
    }));

  test("is known from the real service's answers", async () => {
    await using service = await startService("outage.yaml");
    const outage = { safe: { processes: 3 } };
    await using client = new Client(service.address("gRPC"), { ...PATIENT, outage, warn() {} });
    const ask = { org: "safe", operation: "compressed.get", executionUser: "ann" };
    const [limit] = (await client.acquire(ask)).limits;
    assert.equal(limit?.outageShare, 18);
    await kill(service.child);
    assert.equal((await client.acquire({ ...ask, calls: 6 })).origin, "outage");
    await assert.rejects(client.acquire(ask), Unavailable);
  });
});
