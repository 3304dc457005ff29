import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client } from "@quotagate/client";
import {
  nobodysAddress,
  outcome,
  PATIENT,
  permitMessage,
  runModule,
  startFake,
  startHttp,
  startTcp,
} from "./support.js";

describe("after close nothing keeps a process", () => {
  async function assertEnds(server: string, url: string, timeoutMs = 300): Promise<void> {
    const { code, signal, output } = await outcome(
      runModule("leaver.js", [server, url, `${timeoutMs}`]),
      30_000,
    );
    assert.deepEqual({ code, signal, output }, { code: 0, signal: null, output: "closed\n" });
  }

  test("of a service that is there", async () => {
    await using http = await startHttp((_, response) => response.end("{}"));
    await using fake = await startFake({ acquire: () => permitMessage() });
    await assertEnds(fake.address, http.url, PATIENT.timeoutMs);
    assert.ok(fake.of("report").length >= 5);
  });

  test("of a service that is not there", async () => {
    const nobody = await nobodysAddress();
    await assertEnds(nobody, `http://${nobody}`);
  });

  test("of a service that never answers", async () => {
    await using slow = await startTcp(() => {});
    await assertEnds(slow.address, `http://${await nobodysAddress()}`);
  });

  test("of a service that answers garbage", async () => {
    await using garbage = await startTcp((socket) => socket.write("garbage\r\n\r\n"));
    await assertEnds(garbage.address, `http://${await nobodysAddress()}`);
  });

  test("of a service that never takes a report", async () => {
    await using http = await startHttp((_, response) => response.end("{}"));
    await using fake = await startFake({
      acquire: () => permitMessage(),
      report: () => new Promise(() => {}),
    });
    await assertEnds(fake.address, http.url, PATIENT.timeoutMs);
  });
});

test("clients that come and go leave no sockets and timers behind", async () => {
  await using fake = await startFake({ acquire: () => permitMessage() });
  const nobody = await nobodysAddress();
  const resources = () =>
    process.getActiveResourcesInfo().filter((name) => /TCPSocket|Timeout/.test(name)).length;
  const before = resources();
  for (let time = 0; time < 20; time += 1) {
    const client = new Client(time % 2 === 0 ? fake.address : nobody, PATIENT);
    await client.withPermit({ org: "a", operation: "rest" }, () => {}).catch(() => {});
    await client.close();
  }
  // The server's ends of the connections close a moment later.
  for (let tries = 0; resources() > before && tries < 500; tries += 1) {
    await sleep(10);
  }
  assert.ok(resources() <= before + 1, `${resources()} resources, ${before} before`);
});
