// The page of a cluster of three nodes, and what is shown while nobody can decide.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { findEtcd, startCluster } from "./cluster.js";
import { isWell, SCHEMES, startBrowser, WIDTHS } from "./support.js";

const CONFIG =
  "orgs: [{id: acme, daily_calls: 15000, workspaces: [{id: inbox, daily_calls: 1000}]}]\n";
const etcd = findEtcd();
const skip = etcd === undefined && process.env.CI !== "true" && "there is no etcd: `./x tools`";

describe("a cluster of three nodes", { skip }, () => {
  let cluster;
  let browser;
  before(async () => {
    assert.ok(etcd, "there is no etcd: `./x tools` installs it");
    cluster = await startCluster(etcd, CONFIG);
    browser = await startBrowser();
  });
  after(async () => {
    await browser?.stop();
    await cluster?.stop();
  });

  async function visit(t, path, scheme) {
    const visitor = await browser.visitor({ scheme });
    t.after(visitor.close);
    await visitor.page.goto(cluster.nodes[0].url + path);
    return visitor;
  }

  /** A page at each width, in light and dark. */
  async function isWellEverywhere(t, path, what) {
    for (const scheme of SCHEMES) {
      const visitor = await visit(t, path, scheme);
      for (const width of WIDTHS) {
        await visitor.page.setViewportSize({ width, height: 900 });
        // The browser tells of the status by itself.
        const problems = visitor.problems.filter((it) => !it.includes("status of 503"));
        await isWell({ page: visitor.page, problems }, `${what} at ${width}, ${scheme}`);
      }
    }
  }

  test("is shown with its nodes, its shards and the members of etcd", async (t) => {
    const { page } = await visit(t, "/cluster");
    const nodes = await page.locator("#nodes tbody tr").allInnerTexts();
    assert.deepEqual(
      nodes.map((row) => /ada|bell|cray/.exec(row)?.[0]),
      ["ada", "bell", "cray"],
    );
    assert.equal(await page.locator("#shards .sign").count(), 256);
    assert.equal(await page.locator("#members tbody tr").count(), 1);
    await isWellEverywhere(t, "/cluster", "the page of three nodes");
  });

  test("shows a hand-over while one watches", async (t) => {
    const { page, problems } = await visit(t, "/cluster");
    const [, , leaving] = cluster.nodes;
    leaving.child.kill("SIGTERM");
    await page.locator("#moves li").filter({ hasText: "cray" }).first().waitFor();
    await page.locator("#owners li").filter({ hasText: "cray" }).waitFor({ state: "detached" });
    assert.deepEqual(problems, []);
    await isWellEverywhere(t, "/cluster", "the page after a hand-over");
  });

  test("says that nobody can decide, and comes back by itself", async (t) => {
    await cluster.etcd.stop();
    const path = "/orgs/acme";
    const { page } = await visit(t, path);
    const heading = page.getByRole("heading", { name: "Not available just now" });
    for (let tries = 0; (await heading.count()) === 0; tries += 1) {
      assert.ok(tries < 30, await page.getByRole("main").innerText());
      await page.waitForTimeout(1_000);
      await page.goto(cluster.nodes[0].url + path);
    }
    assert.match(await page.getByRole("main").innerText(), /tries again by itself/);
    await isWellEverywhere(t, path, "a page while nobody can decide");
    await isWellEverywhere(t, "/", "the orgs while nobody can decide");
    await isWellEverywhere(t, "/cluster", "the cluster without etcd");
  });
});
