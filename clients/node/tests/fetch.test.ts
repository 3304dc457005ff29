import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, Denied, type FetchOptions, quotagateErrorOf } from "@quotagate/client";
import { nobodysAddress, PATIENT, permitMessage, startFake, startHttp, until } from "./support.js";

const PATH = "/services/data/v66.0/limits";
const OPTIONS = { org: "a", executionUser: "ann" };

interface Scene {
  readonly fake: Awaited<ReturnType<typeof startFake>>;
  readonly url: string;
  /** Method and path of all that has reached Salesforce. */
  readonly arrived: string[];
  readonly send: typeof fetch;
  readonly client: Client;
}

/** The adapter between a service that grants everything and a server that answers like this. */
async function scene(
  answer: (request: IncomingMessage, response: ServerResponse, body: string) => void,
  use: (scene: Scene) => Promise<void>,
  options: Partial<FetchOptions> = {},
): Promise<void> {
  const arrived: string[] = [];
  await using fake = await startFake({ acquire: () => permitMessage() });
  await using http = await startHttp(async (request, response) => {
    arrived.push(`${request.method} ${request.url}`);
    let body = "";
    for await (const chunk of request) {
      body += chunk;
    }
    answer(request, response, body);
  });
  await using client = new Client(fake.address, PATIENT);
  const send = client.fetch({ ...OPTIONS, ...options });
  await use({ fake, url: http.url, arrived, send, client });
}

describe("fetch", () => {
  test("takes a permit, sends, and reports status and headers", () =>
    scene(
      (_, response) => {
        response.setHeader("Sforce-Limit-Info", "api-usage=18/5000");
        response.setHeader("Date", "Fri, 02 Jan 2026 03:04:05 GMT");
        response.end("{}");
      },
      async ({ fake, url, arrived, send, client }) => {
        const response = await send(url + PATH);
        assert.deepEqual(await response.json(), {});
        await client.close();
        assert.deepEqual(arrived, [`GET ${PATH}`]);
        const [acquired] = fake.of("acquire");
        assert.equal(acquired.executionUser, "ann");
        const [report] = fake.of("report");
        assert.equal(report.httpStatus, 200);
        assert.deepEqual(report.limitInfo, ["api-usage=18/5000"]);
        assert.equal(report.answerTime.seconds, 1_767_323_045);
        assert.deepEqual(fake.of("release"), []);
      },
    ));

  test("reports an error's body, and leaves it to the caller", () =>
    scene(
      (_, response) => {
        response.statusCode = 429;
        response.setHeader("Retry-After", "Fri, 02 Jan 2026 03:04:15 GMT");
        response.setHeader("Date", "Fri, 02 Jan 2026 03:04:05 GMT");
        response.end(JSON.stringify([{ errorCode: "REQUEST_LIMIT_EXCEEDED", message: "slow" }]));
      },
      async ({ fake, url, send, client }) => {
        const response = await send(url + PATH);
        assert.equal(((await response.json()) as { errorCode: string }[]).length, 1);
        await client.close();
        const [report] = fake.of("report");
        assert.equal(report.errorCode, "REQUEST_LIMIT_EXCEEDED");
        assert.equal(report.errorMessage, "slow");
        assert.equal(report.retryAfter.seconds, 10);
      },
    ));

  test("reads no more of an error than 64 KiB, and tells 1 KiB of what is no JSON", () =>
    scene(
      (_, response) => {
        response.statusCode = 503;
        response.end("é".repeat(1_000_000));
      },
      async ({ fake, url, send, client }) => {
        const response = await send(url + PATH);
        await client.close();
        assert.equal(fake.of("report")[0].errorMessage, "é".repeat(512));
        assert.equal((await response.text()).length, 1_000_000);
      },
    ));

  test("lets pass what is no call of the API", () =>
    scene(
      (_, response) => response.end("[]"),
      async ({ fake, url, arrived, send }) => {
        await (await send(`${url}/services/data`)).text();
        await (await send(`${url}/elsewhere`)).text();
        assert.equal(arrived.length, 2);
        assert.deepEqual(fake.requests, []);
      },
    ));

  test("follows redirects, each a call of its own", () =>
    scene(
      (request, response, body) => {
        if (request.url?.endsWith("/first")) {
          response.writeHead(307, { Location: "/services/data/v66.0/second" }).end();
        } else if (request.url?.endsWith("/second")) {
          response.writeHead(303, { Location: "/services/data/v66.0/third" }).end(body);
        } else {
          response.end(`${request.headers.authorization} ${request.headers["content-type"]}`);
        }
      },
      async ({ fake, url, arrived, send, client }) => {
        const request = new Request(`${url}/services/data/v66.0/first`, {
          method: "POST",
          body: "x=1",
          headers: { Authorization: "Bearer t", "Content-Type": "text/plain" },
        });
        const response = await send(request);
        assert.equal(response.redirected, true);
        assert.equal(response.url, `${url}/services/data/v66.0/third`);
        assert.equal(await response.text(), "Bearer t undefined");
        await client.close();
        assert.deepEqual(
          arrived.map((line) => line.replace("/services/data/v66.0/", "")),
          ["POST first", "POST second", "GET third"],
        );
        assert.equal(fake.of("acquire").length, 3);
        assert.deepEqual(
          fake.of("report").map(({ httpStatus }) => httpStatus),
          [307, 303, 200],
        );
      },
    ));

  test("keeps the session from another origin", () =>
    scene(
      (request, response) => {
        const { host, port } = new URL(`http://${request.headers.host}`);
        if (host.startsWith("127")) {
          response.writeHead(302, { Location: `http://localhost:${port}${PATH}` }).end();
        } else {
          response.end(String(request.headers.authorization));
        }
      },
      async ({ url, send }) => {
        const response = await send(url + PATH, { headers: { Authorization: "Bearer t" } });
        assert.equal(await response.text(), "undefined");
      },
    ));

  test("gives up where redirects do not end, and leaves them alone if asked to", () =>
    scene(
      (_, response) => response.writeHead(302, { Location: PATH }).end(),
      async ({ url, arrived, send }) => {
        await assert.rejects(send(url + PATH), TypeError);
        assert.equal(arrived.length, 21);
        const response = await send(url + PATH, { redirect: "manual" });
        assert.equal(response.status, 302);
        assert.equal(arrived.length, 22);
      },
    ));

  test("sends a request once, whatever becomes of it", () =>
    scene(
      (request) => request.socket.destroy(),
      async ({ fake, url, arrived, send, client }) => {
        await assert.rejects(send(url + PATH), TypeError);
        await client.close();
        assert.equal(arrived.length, 1);
        const [report] = fake.of("report");
        assert.equal(report.httpStatus, 0);
        assert.deepEqual(fake.of("release"), []);
      },
    ));

  test("counts the request that Node repeats by itself on 421", () =>
    scene(
      (_, response) => {
        response.statusCode = 421;
        response.end();
      },
      async ({ fake, url, arrived, send }) => {
        assert.equal((await send(url + PATH)).status, 421);
        await until("all are reported", () => fake.of("report").length === arrived.length);
        assert.equal(fake.of("acquire").length, arrived.length);
      },
    ));

  test("gives back what was certainly not sent", () =>
    scene(
      () => {},
      async ({ fake, send, client }) => {
        await assert.rejects(send(`http://${await nobodysAddress()}${PATH}`), TypeError);
        await client.close();
        assert.deepEqual(fake.of("report"), []);
        assert.equal(fake.of("release").length, 1);
      },
    ));

  const lost: [string, Record<string, string>, boolean][] = [
    ["EHOSTUNREACH", { syscall: "connect" }, true],
    ["ENETUNREACH", { syscall: "connect" }, true],
    ["EHOSTUNREACH", { syscall: "read" }, false],
    ["ENETUNREACH", { syscall: "write" }, false],
    ["EHOSTUNREACH", {}, false],
  ];
  for (const [code, fields, isGivenBack] of lost) {
    test(`${isGivenBack ? "gives back" : "keeps"} a call after ${code} of ${fields.syscall}`, () =>
      scene(
        () => {},
        async ({ fake, url, send, client }) => {
          await assert.rejects(send(url + PATH), TypeError);
          await client.close();
          assert.equal(fake.of("release").length, isGivenBack ? 1 : 0);
          assert.equal(fake.of("report").length, isGivenBack ? 0 : 1);
        },
        {
          fetch: async () => {
            const cause = Object.assign(new Error(code), { code, ...fields });
            throw new TypeError("fetch failed", { cause });
          },
        },
      ));
  }

  test("takes another permit if one was over before it could be used", async () => {
    let permits = 0;
    const acquire = () => {
      permits += 1;
      return permitMessage({ ttl: { seconds: permits === 1 ? 0 : 30 } });
    };
    await using fake = await startFake({ acquire });
    await using http = await startHttp((_, response) => response.end());
    await using client = new Client(fake.address, PATIENT);
    assert.equal((await client.fetch(OPTIONS)(http.url + PATH)).status, 200);
    assert.equal(permits, 2);
  });

  test("is given up by its signal before and after it is sent", () =>
    scene(
      () => {},
      async ({ fake, url, arrived, send, client }) => {
        await assert.rejects(send(url + PATH, { signal: AbortSignal.abort() }), {
          name: "AbortError",
        });
        assert.equal(arrived.length, 0);
        const controller = new AbortController();
        const sent = assert.rejects(send(url + PATH, { signal: controller.signal }), {
          name: "AbortError",
        });
        await until("it has arrived", () => arrived.length === 1);
        controller.abort();
        await sent;
        await client.close();
        assert.equal(fake.of("report")[0].httpStatus, 0);
      },
    ));

  test("rejects without a permit as fetch does, and sends nothing", async () => {
    const denial = { reason: "DENIAL_REASON_ORG_LIMIT", message: "used up" };
    await using fake = await startFake({ acquire: () => ({ denial }) });
    await using client = new Client(fake.address, PATIENT);
    const sent: unknown[] = [];
    const send = client.fetch({
      ...OPTIONS,
      fetch: async (input) => {
        sent.push(input);
        return new Response();
      },
    });
    const error = await send(`http://127.0.0.1:1${PATH}`).catch((error) => error);
    assert.ok(error instanceof TypeError);
    const cause = quotagateErrorOf(error);
    assert.ok(cause instanceof Denied);
    assert.equal(cause.reason, "ORG_LIMIT");
    assert.deepEqual(sent, []);
  });

  test("tells what became of the report", async () => {
    const advice: string[] = [];
    await scene(
      (_, response) => response.end(),
      async ({ url, send, client }) => {
        await send(url + PATH);
        await client.close();
      },
      { onSettled: (settlement) => advice.push(settlement.advice) },
    );
    assert.deepEqual(advice, ["continue"]);
  });

  const bodies: [string, string | Buffer | Blob, number][] = [
    ["text", '{"batchRequests":[{},{},{}]}', 3],
    ["bytes", Buffer.from('{"batchRequests":[{},{}]}'), 2],
    ["a blob", new Blob(['{"batchRequests":[{},{}]}']), 2],
  ];
  for (const [what, body, cost] of bodies) {
    test(`counts the requests of a batch in ${what}, alone or in a Request`, () =>
      scene(
        (_, response, received) => response.end(received),
        async ({ fake, url, send }) => {
          const batch = `${url}/services/data/v66.0/composite/batch`;
          await send(batch, { method: "POST", body });
          const echo = await send(new Request(batch, { method: "POST", body }));
          assert.match(await echo.text(), /^\{"batchRequests/);
          assert.deepEqual(
            fake.of("acquire").map((request) => request.cost),
            [cost, cost],
          );
        },
      ));
  }

  test("an unread error body does not keep its report", () =>
    scene(
      (_, response) => {
        response.statusCode = 500;
        response.write("trickles");
      },
      async ({ fake, url, send }) => {
        const response = await send(url + PATH);
        await until("it is reported", () => fake.of("report").length === 1);
        assert.equal(fake.of("report")[0].errorMessage, "trickles");
        await response.body?.cancel();
        await sleep(0);
      },
    ));
});
