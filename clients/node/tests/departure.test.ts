import assert from "node:assert/strict";
import dns from "node:dns";
import { describe, mock, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, PermitExpired, quotagateErrorOf } from "@quotagate/client";
import { Connection } from "jsforce";
import { PATIENT, permitMessage, startFake, startHttp } from "./support.js";

const OPTIONS = { org: "a", executionUser: "ann" };

/** The names `after-MS.invalid` are of this machine, but known only after so long. */
const { lookup } = dns;
mock.method(dns, "lookup", ((name, options, done: Done) => {
  const ms = /^after-(\d+)\.invalid$/.exec(name)?.[1];
  if (ms === undefined) {
    lookup(name, options as dns.LookupOptions, done as never);
  } else {
    setTimeout(() => done(null, [{ address: "127.0.0.1", family: 4 }]), Number(ms));
  }
}) as typeof lookup);
type Done = (error: null, addresses: { address: string; family: number }[]) => void;

type Send = (client: Client, url: string) => Promise<unknown>;
const adapters: [string, Send][] = [
  ["fetch", (client, url) => client.fetch(OPTIONS)(`${url}/services/data/v66.0/limits`)],
  [
    "fetch, with a signal and a body",
    (client, url) => {
      const { signal } = new AbortController();
      const init = { method: "POST", body: "x".repeat(100_000), signal };
      return client.fetch(OPTIONS)(`${url}/services/data/v66.0/x`, init);
    },
  ],
  ["jsforce", (client, url) => jsforce(client, url).limits()],
  [
    "jsforce, with a body",
    (client, url) => jsforce(client, url).request({ method: "POST", url: "/x", body: "{}" }),
  ],
];

function jsforce(client: Client, instanceUrl: string): Connection {
  const connection = new Connection({ instanceUrl, accessToken: "a!ann" });
  client.jsforce(connection, OPTIONS);
  return connection;
}

for (const [name, send] of adapters) {
  describe(`a request by ${name}`, { concurrency: true }, () => {
    /** A permit that lives so long, and a connection that takes so long. */
    async function scene(ttlMs: number, connectMs: number) {
      const arrived: string[] = [];
      const ttl = { seconds: Math.floor(ttlMs / 1_000), nanos: (ttlMs % 1_000) * 1_000_000 };
      await using fake = await startFake({ acquire: () => permitMessage({ ttl }) });
      await using http = await startHttp(async (request, response) => {
        arrived.push(String(request.url));
        // An answer may come after the deadline.
        await sleep(ttlMs);
        response.setHeader("content-type", "application/json").end("{}");
      });
      await using client = new Client(fake.address, PATIENT);
      const url = http.url.replace("127.0.0.1", `after-${connectMs}.invalid`);
      const outcome = await send(client, url).then(
        () => undefined,
        (error) => error,
      );
      if (outcome) {
        // Time enough for what should not come.
        await sleep(connectMs);
      }
      await client.close();
      return { outcome, arrived, reports: fake.of("report") };
    }

    test("does not leave after the deadline", async () => {
      const { outcome, arrived, reports } = await scene(300, 900);
      assert.deepEqual(arrived, []);
      assert.ok(quotagateErrorOf(outcome) instanceof PermitExpired, String(outcome));
      assert.deepEqual(reports, []);
    });

    test("goes on after the deadline if it has left before", async () => {
      const { outcome, arrived } = await scene(2_000, 500);
      assert.equal(outcome, undefined);
      assert.equal(arrived.length, 1);
    });
  });
}
