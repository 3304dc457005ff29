// What the tests share: a service with something to see in it, and a browser that
// notices whatever should not happen on a page.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { after, before } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import axe from "axe-core";
import { chromium } from "playwright-core";

export const REPOSITORY = join(dirname(fileURLToPath(import.meta.url)), "../..");
const BINARY = process.env.QUOTAGATE_BIN ?? join(REPOSITORY, "target/debug/quotagate");

/** Widths of a desk, a tablet and a phone. */
export const WIDTHS = [1440, 768, 390];
export const SCHEMES = ["light", "dark"];

/** The service with a configuration, on an empty store in memory unless told otherwise. */
export async function startService(config, ...args) {
  assert.ok(existsSync(BINARY), `${BINARY} does not exist: build it, or set QUOTAGATE_BIN`);
  const folder = await mkdtemp(join(tmpdir(), "quotagate-browser-"));
  await writeFile(join(folder, "config.yaml"), config);
  const child = spawn(
    BINARY,
    ["serve", "--config", "config.yaml", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"].concat(
      args.includes("--store") ? args : ["--store", "memory:", ...args],
    ),
    { cwd: folder, stdio: ["ignore", "pipe", "pipe"] },
  );
  let said = "";
  child.stderr.on("data", (chunk) => {
    said = (said + chunk).slice(-4_000);
  });
  const addresses = {};
  const http = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", () => reject(new Error(`quotagate serve has ended: ${said}`)));
    createInterface(child.stdout).on("line", (line) => {
      const [name, address] = line.split(/\s+/);
      addresses[name] = address;
      if (name === "HTTP") {
        resolve(address.replace(/\/$/, ""));
      }
    });
  });
  return {
    child,
    url: http,
    grpc: addresses.gRPC,
    folder,
    /** What the log has said of late. */
    said: () => said,
    api: (method, path, body, headers) => api(http, method, path, body, headers),
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        const ended = once(child, "exit");
        child.kill("SIGKILL");
        await ended;
      }
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** One of the program's commands, which asks a service by gRPC: how it ended, and all
 * that it wrote. */
export async function quotagate(service, ...args) {
  const child = spawn(BINARY, args, {
    env: { ...process.env, QUOTAGATE_SERVER: service.grpc },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk) => {
      text += chunk;
    });
  }
  const [code] = await once(child, "close");
  return { code, text };
}

/** One request of the JSON API: its status, and what it answers. */
async function api(http, method, path, body, headers = {}) {
  const answer = await fetch(`${http}/api/v1${path}`, {
    method,
    headers: { "content-type": "application/json", ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  return { status: answer.status, body: await answer.json().catch(() => undefined) };
}

/** Makes calls, as callers and Salesforce do: a permit, and reports of its answers. */
export async function makeCalls(service, org, calls, ask = {}, answer = {}) {
  for (let left = calls; left > 0; ) {
    const now = Math.min(left, 1_000);
    const { status, body } = await service.api("POST", `/orgs/${org}:acquire`, {
      operation: "rest",
      trafficClass: "TRAFFIC_CLASS_EVENT",
      calls: now,
      ...ask,
    });
    assert.equal(status, 200, JSON.stringify(body));
    left -= now;
    const report = { calls: now, httpStatus: 200, completedAgo: "0s", ...answer };
    const told = await service.api("POST", `/permits/${body.permit.permitId}:report`, report);
    assert.equal(told.status, 200, JSON.stringify(told.body));
  }
}

/** What Salesforce's header says of an org. */
export async function read(service, org, used, limit) {
  const { status, body } = await service.api("POST", `/orgs/${org}:acquire`, {
    operation: "rest",
    trafficClass: "TRAFFIC_CLASS_CONTROL",
  });
  assert.equal(status, 200, JSON.stringify(body));
  await service.api("POST", `/permits/${body.permit.permitId}:report`, {
    httpStatus: 200,
    limitInfo: [`api-usage=${used}/${limit}`],
    answerTime: new Date().toISOString(),
  });
}

/** A browser for a whole file of tests. */
export async function startBrowser() {
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"].concat([
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ]),
  });
  return {
    /** A window of somebody's own, with no cookies, in which nothing goes wrong unseen. */
    async visitor(options = {}) {
      const context = await browser.newContext({
        viewport: { width: options.width ?? 1440, height: 900 },
        colorScheme: options.scheme ?? "light",
        reducedMotion: "reduce",
        locale: "en-GB",
        timezoneId: options.zone ?? "Europe/Dublin",
        ...options.context,
      });
      const page = await context.newPage();
      page.setDefaultTimeout(20_000);
      const problems = [];
      page.on("console", (message) => {
        if (message.type() === "error" || message.type() === "warning") {
          problems.push(`console: ${message.text()} (${message.location().url})`);
        }
      });
      page.on("pageerror", (error) => problems.push(`script: ${error.message}`));
      page.on("request", (request) => {
        const url = new URL(request.url());
        if (url.hostname !== "127.0.0.1" && url.protocol !== "data:") {
          problems.push(`a request to another host: ${url}`);
        }
      });
      return { page, problems, close: () => context.close() };
    },
    stop: () => browser.close(),
  };
}

/** A service and a browser for all tests of a `describe`. */
export function scene(config, fill = async () => {}) {
  let service;
  let browser;
  before(async () => {
    [service, browser] = await Promise.all([startService(config), startBrowser()]);
    await fill(service);
  });
  after(async () => {
    await browser?.stop();
    await service?.stop();
  });
  return {
    get service() {
      return service;
    },
    get url() {
      return service.url;
    },
    /** Somebody who has just opened a page. */
    async visit(t, path, options) {
      const visitor = await browser.visitor(options);
      t.after(visitor.close);
      await visitor.page.goto(service.url + path);
      return visitor;
    },
  };
}

/** That nothing went wrong on a page which is shown now, as far as programs can see. */
export async function isWell({ page, problems }, what) {
  assert.deepEqual(problems, [], what);
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run(document, {
      runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    }),
  );
  const found = violations.flatMap(({ id, help, nodes }) =>
    nodes.map((node) => `${id}: ${help}: ${node.html.slice(0, 200)}`),
  );
  assert.deepEqual(found, [], `axe: ${what}`);
  const overflow = await page.evaluate(overflowing);
  assert.deepEqual(overflow, [], `too wide: ${what}`);
}

/** What makes the page scroll sideways, and text that is cut off without a sign. */
function overflowing() {
  const found = [];
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) {
    found.push(`the page: ${root.scrollWidth} of ${root.clientWidth}`);
    for (const element of document.body.querySelectorAll("*")) {
      const { right } = element.getBoundingClientRect();
      if (right > root.clientWidth + 1) {
        found.push(`${element.tagName}.${element.className} ${Math.round(right)}`);
      }
    }
  }
  return found.slice(0, 10);
}

/** Asks until it holds. */
export async function until(what, holds) {
  const deadline = performance.now() + 30_000;
  while (!(await holds())) {
    assert.ok(performance.now() < deadline, `in vain waited until ${what}`);
    await sleep(20);
  }
}
