import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { text } from "node:stream/consumers";
import { after, before, describe, test } from "node:test";
import { Client, Denied } from "@quotagate/client";
import { Connection } from "jsforce";
import {
  nobodysAddress,
  PATIENT,
  type Program,
  permitMessage,
  startFake,
  startHttp,
  startService,
  startStandIn,
  until,
} from "./support.js";

/** A user's calls, as they have been written ever since. */
async function callSites(connection: Connection) {
  const { records } = await connection.query("SELECT Id, Name FROM Account");
  assert.deepEqual(records, []);
  await connection.sobject("Account").retrieve("001000000000001AAA");
  await connection.sobject("Account").create({ Name: "Acme" });
  await connection.sobject("Account").update({ Id: "001000000000001AAA", Name: "Acme" });
  await connection.sobject("Account").destroy("001000000000001AAA");
  return connection.limits();
}

describe("jsforce against the stand-in", () => {
  let service: Program;
  let standIn: Program;
  before(async () => {
    [service, standIn] = await Promise.all([startService("config.yaml"), startStandIn()]);
  });
  after(async () => {
    await service?.[Symbol.asyncDispose]();
    await standIn?.[Symbol.asyncDispose]();
  });

  function connect(org: string, user: string): Connection {
    const instanceUrl = standIn.address("stand-in");
    return new Connection({ instanceUrl, accessToken: `${org}!${user}`, version: "66.0" });
  }

  test("makes real calls, each with a permit and a report", async () => {
    await using client = new Client(service.address("gRPC"), PATIENT);
    const connection = connect("jsforce", "ann");
    client.jsforce(connection, { org: "jsforce", executionUser: "ann" });
    const limits = await callSites(connection);
    assert.ok(limits.DailyApiRequests);
    assert.ok(connection.limitInfo.apiUsage, "jsforce sees the answer's headers");
    await until("all are settled", async () => {
      const [total] = (await client.getUsage("jsforce")).limits;
      return total?.usedByCaller === 6 && total.foreign === 0;
    });
  });

  test("makes none without a permit, and is told by an error as jsforce has them", async () => {
    await using client = new Client(service.address("gRPC"), PATIENT);
    const connection = connect("jsforce-denied", "ann");
    client.jsforce(connection, {
      org: "jsforce-denied",
      executionUser: "ann",
      rules: () => ({ operation: "rest", cost: 10_000 }),
    });
    await connection.limits();
    const error = await connection.query("SELECT Id FROM Account").then(
      () => undefined,
      (error) => error,
    );
    assert.ok(error instanceof Denied);
    assert.equal((error as Denied & { errorCode?: string }).errorCode, "REQUEST_LIMIT_EXCEEDED");
  });

  test("asks no more once the hook is taken off", async () => {
    await using client = new Client(service.address("gRPC"), PATIENT);
    const connection = connect("jsforce-off", "ann");
    const unhook = client.jsforce(connection, { org: "jsforce-off", executionUser: "ann" });
    unhook();
    await connection.limits();
    const [total] = (await client.getUsage("jsforce-off").catch(() => ({ limits: [] }))).limits;
    assert.equal(total?.usedByCaller ?? 0, 0);
  });
});

/** jsforce between a service that grants everything and a server that answers like this. */
async function scene(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  use: (
    connection: Connection,
    fake: Awaited<ReturnType<typeof startFake>>,
    arrived: string[],
    client: Client,
  ) => Promise<void>,
): Promise<void> {
  const arrived: string[] = [];
  await using fake = await startFake({ acquire: () => permitMessage() });
  await using http = await startHttp((request, response) => {
    arrived.push(`${request.method} ${request.url}`);
    answer(request, response);
  });
  await using client = new Client(fake.address, PATIENT);
  const connection = new Connection({ instanceUrl: http.url, accessToken: "a!ann" });
  client.jsforce(connection, { org: "a", executionUser: "ann" });
  await use(connection, fake, arrived, client);
}

function json(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

describe("jsforce", () => {
  test("does not repeat by itself what Salesforce refuses", () =>
    scene(
      (_, response) => json(response, 503, [{ errorCode: "SERVER_UNAVAILABLE", message: "gone" }]),
      async (connection, fake, arrived, client) => {
        await assert.rejects(connection.limits(), { errorCode: "SERVER_UNAVAILABLE" });
        await client.close();
        assert.equal(arrived.length, 1);
        const [report] = fake.of("report");
        assert.equal(report.httpStatus, 503);
        assert.equal(report.errorCode, "SERVER_UNAVAILABLE");
        assert.equal(report.errorMessage, "gone");
      },
    ));

  test("takes a permit for the second try after the session was renewed", () =>
    scene(
      (request, response) => {
        if (request.headers.authorization === "Bearer new") {
          json(response, 200, { ok: true });
        } else {
          json(response, 401, [{ errorCode: "INVALID_SESSION_ID", message: "expired" }]);
        }
      },
      async (hooked, fake, arrived, client) => {
        const connection = new Connection({
          instanceUrl: hooked.instanceUrl,
          accessToken: "old",
          refreshFn: (_, done) => done(null, "new"),
        });
        client.jsforce(connection, { org: "a", executionUser: "ann" });
        assert.deepEqual(await connection.limits(), { ok: true });
        await client.close();
        assert.equal(arrived.length, 2);
        assert.deepEqual(
          fake.of("report").map(({ httpStatus }) => httpStatus),
          [401, 200],
        );
      },
    ));

  test("follows redirects, each a call of its own", () =>
    scene(
      (request, response) => {
        if (request.url?.endsWith("/limits")) {
          response.writeHead(302, { Location: "/services/data/v50.0/moved" }).end();
        } else {
          json(response, 200, { moved: request.headers.authorization });
        }
      },
      async (connection, fake, arrived) => {
        assert.deepEqual(await connection.limits(), { moved: "Bearer a!ann" });
        assert.deepEqual(arrived, [
          "GET /services/data/v50.0/limits",
          "GET /services/data/v50.0/moved",
        ]);
        assert.equal(fake.of("acquire").length, 2);
      },
    ));

  test("logs in without a permit", () =>
    scene(
      (_, response) => response.writeHead(500).end("<faultstring>no</faultstring>"),
      async (connection, fake, arrived) => {
        connection.loginUrl = connection.instanceUrl;
        await assert.rejects(connection.login("user", "password"), /no/);
        assert.equal(arrived.length, 1);
        assert.deepEqual(fake.requests, []);
      },
    ));

  test("streams what is sent and what comes", () =>
    scene(
      (request, response) => {
        response.writeHead(200, { "content-type": "text/plain" });
        request.pipe(response);
      },
      async (connection) => {
        const sent = "é".repeat(1_000_000);
        const exchange = connection.request({ method: "POST", url: "/echo" });
        const stream = exchange.stream();
        const received = text(stream);
        stream.end(sent);
        assert.equal(await received, sent);
        assert.equal(await exchange, sent);
      },
    ));

  test("counts the requests of a batch", () =>
    scene(
      (_, response) => json(response, 200, { hasErrors: false, results: [] }),
      async (connection, fake) => {
        const body = JSON.stringify({ batchRequests: [{}, {}, {}] });
        await connection.request({ method: "POST", url: "/composite/batch", body });
        assert.equal(fake.of("acquire")[0].cost, 3);
      },
    ));

  test("gives back what was certainly not sent", () =>
    scene(
      () => {},
      async (connection, fake, _, client) => {
        connection.instanceUrl = `http://${await nobodysAddress()}`;
        await assert.rejects(connection.limits(), /ECONNREFUSED/);
        await client.close();
        assert.equal(fake.of("release").length, 1);
        assert.deepEqual(fake.of("report"), []);
      },
    ));

  test("reports a lost answer as sent", () =>
    scene(
      (request) => request.socket.destroy(),
      async (connection, fake, _, client) => {
        await assert.rejects(connection.limits());
        await client.close();
        assert.equal(fake.of("report")[0].httpStatus, 0);
      },
    ));

  test("is not hooked twice", () =>
    scene(
      () => {},
      async (connection, _, __, client) => {
        const options = { org: "a", executionUser: "ann" };
        assert.throws(() => client.jsforce(connection, options), TypeError);
      },
    ));

  test("is not hooked where it sends through a proxy page", async () => {
    await using client = new Client("127.0.0.1:1");
    const connection = new Connection({ proxyUrl: "http://127.0.0.1:1/proxy" });
    const options = { org: "a", executionUser: "ann" };
    assert.throws(() => client.jsforce(connection, options), TypeError);
  });
});
