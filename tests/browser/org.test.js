// What somebody does on an org's page, and sees happen.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isWell, makeCalls, scene, until } from "./support.js";
import { ACME, CONFIG, populate } from "./world.js";

describe("an org's page", () => {
  const here = scene(CONFIG, populate);
  const workspace = (page, name) =>
    page.getByRole("article").filter({ has: page.getByRole("heading", { name, exact: true }) });

  test("shows the numbers of Intercom's picture, and what stops at which of them", async (t) => {
    const { page } = await here.visit(t, `/orgs/${ACME}`);
    const total = await page.locator("#total").innerText();
    for (const words of ["15,000", "2,918", "3,072"]) {
      assert.ok(total.includes(words), `${words} in: ${total}`);
    }
    const inbox = await workspace(page, "inbox").innerText();
    for (const words of [/40 %.*manual bulk sync/i, /80 %.*event-based sync/i, /60 %/, /100 %/]) {
      assert.match(inbox, words);
    }
    const states = async (name) => {
      const rows = await workspace(page, name).getByRole("row").allInnerTexts();
      return rows.map((row) => row.replaceAll(/\s+/g, " ")).filter((row) => row.includes("paused"));
    };
    assert.equal((await states("thresholds-40")).length, 1);
    assert.equal((await states("thresholds-80")).length, 2);
    assert.equal((await states("thresholds-100")).length, 3);
  });

  test("has both warnings as sentences", async (t) => {
    const { page } = await here.visit(t, `/orgs/${ACME}`);
    const near = await workspace(page, "thresholds-80").innerText();
    const full = await workspace(page, "thresholds-100").innerText();
    assert.match(near, /has used 81 of its 100 calls in 24 hours/);
    assert.match(full, /has used 100 of its 100 calls in 24 hours/);
  });

  test("a limit that is changed here holds for the next call", async (t) => {
    const ask = { operation: "rest", workspace: "thresholds-100" };
    ask.trafficClass = "TRAFFIC_CLASS_INTERACTIVE";
    const acquire = () => here.service.api("POST", `/orgs/${ACME}:acquire`, ask);
    assert.equal((await acquire()).status, 429);
    const visitor = await here.visit(t, `/orgs/${ACME}`);
    const { page } = visitor;
    const limit = workspace(page, "thresholds-100").getByLabel("Limit");
    await limit.fill("400");
    await limit.press("Enter");
    // What it would change is shown, and nothing is changed.
    await page.getByRole("heading", { name: "Limit of thresholds-100" }).waitFor();
    const preview = await page.getByRole("table").innerText();
    assert.match(preview, /100/);
    assert.match(preview, /400/);
    assert.match(preview, /paused/);
    await isWell(visitor, "what a limit would change");
    assert.equal((await acquire()).status, 429);
    await page.getByRole("button", { name: "Save" }).click();
    await page.waitForURL((url) => url.pathname === `/orgs/${ACME}`);
    assert.equal((await acquire()).status, 200);
    await isWell(visitor, "the page after a limit was changed");
    const { body } = await here.service.api("GET", `/orgs/${ACME}`);
    assert.equal(body.changes[0].action, "PutWorkspace");
  });

  test("a limit that cannot be is refused beside its field, and nothing typed is lost", async (t) => {
    const visitor = await here.visit(t, `/orgs/${ACME}`);
    const { page } = visitor;
    const limit = workspace(page, "inbox").getByLabel("Limit");
    await limit.evaluate((input) => {
      input.type = "text";
      input.form.noValidate = true;
    });
    await limit.fill("12,000 or so");
    await limit.press("Enter");
    await page.getByText(/“12,000 or so” is not a number of calls/).waitFor();
    assert.equal(await page.getByLabel("Limit").inputValue(), "12,000 or so");
    const { body } = await here.service.api("GET", `/orgs/${ACME}`);
    const declared = body.entry.org.workspaces.find(({ id }) => id === "inbox");
    assert.equal(declared.dailyCalls, "15000");
  });

  test("somebody who types is not disturbed by what changes meanwhile", async (t) => {
    const { page, problems } = await here.visit(t, `/orgs/${ACME}`);
    const limit = workspace(page, "inbox").getByLabel("Limit");
    await limit.fill("12345");
    const used = page.locator("#total").getByText(/^Callers of quotagate have used/);
    const before = await used.innerText();
    await makeCalls(here.service, ACME, 7, { workspace: "inbox" });
    await until("the page has changed", async () => (await used.innerText()) !== before);
    assert.equal(await limit.inputValue(), "12345");
    assert.equal(await limit.evaluate((input) => input === document.activeElement), true);
    assert.deepEqual(problems, []);
  });

  test("a class pauses while one watches", async (t) => {
    const { page, problems } = await here.visit(t, "/orgs/watched");
    await makeCalls(here.service, "watched", 39, { workspace: "live" });
    const bulk = workspace(page, "live").getByRole("row", { name: /manual bulk sync/i });
    await bulk.getByText(/runs|pauses in/).waitFor();
    await makeCalls(here.service, "watched", 1, { workspace: "live" });
    await bulk.getByText("paused").waitFor();
    assert.deepEqual(problems, []);
  });

  test("all of it can be read and done without a script", async (t) => {
    const context = { javaScriptEnabled: false };
    const { page } = await here.visit(t, `/orgs/${ACME}`, { context });
    const limit = workspace(page, "thresholds-40").getByLabel("Limit");
    await limit.fill("200");
    await limit.press("Enter");
    await page.getByRole("button", { name: "Save" }).click();
    await page.waitForURL((url) => url.pathname === `/orgs/${ACME}`);
    assert.match(await workspace(page, "thresholds-40").innerText(), /of 200 calls/);
  });
});

describe("the page of an org that nobody knows", () => {
  const here = scene("unknown: {orgs: refuse}\norgs: [{id: known, daily_calls: 1000}]\n");

  test("says so, and what to do", async (t) => {
    const { page } = await here.visit(t, "/orgs/never-heard-of");
    const main = await page.getByRole("main").innerText();
    assert.match(main, /not declared/);
    assert.equal(await page.getByRole("link", { name: "All orgs" }).count(), 1);
  });
});
