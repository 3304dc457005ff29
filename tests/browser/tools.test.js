// Asking why, trying other limits, and declaring what there is.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isWell, makeCalls, scene } from "./support.js";
import { ACME, ANN, CONFIG, populate } from "./world.js";

describe("the pages to ask, to try and to declare", () => {
  const here = scene(CONFIG, populate);

  test("an Acquire is explained: each limit, and the one that binds", async (t) => {
    const visitor = await here.visit(t, `/orgs/${ACME}/explain`);
    const { page } = visitor;
    await page.getByLabel("Operation").fill("conversation-entries.get");
    await page.getByLabel("Execution user").fill(ANN);
    await page.getByLabel("Calls", { exact: true }).fill("80");
    await page.getByRole("button", { name: "Explain" }).click();
    await page.waitForURL((url) => url.searchParams.get("calls") === "80");
    const verdict = await page.locator("#verdict").innerText();
    assert.match(verdict, /refused|denied|not be granted/i);
    assert.match(verdict, /entries/);
    await isWell(visitor, "an explanation");
    // Nothing was charged: as many as there is room for are granted still.
    const ask = { operation: "conversation-entries.get", executionUser: ANN, calls: 30 };
    assert.equal((await here.service.api("POST", `/orgs/${ACME}:acquire`, ask)).status, 200);
  });

  test("what is asked wrongly is said beside the form", async (t) => {
    const visitor = await here.visit(t, `/orgs/${ACME}/explain?operation=no-such-operation`);
    await visitor.page.getByText(/has no such operation/).waitFor();
    await isWell({ page: visitor.page, problems: [] }, "a question that cannot be answered");
  });

  test("other limits are tried on what was asked for, and nothing is changed", async (t) => {
    await makeCalls(here.service, "watched", 60, {
      workspace: "live",
      trafficClass: "TRAFFIC_CLASS_INTERACTIVE",
    });
    const visitor = await here.visit(t, "/orgs/watched/what-if");
    const { page } = visitor;
    const live = page.getByRole("group", { name: "live", exact: true });
    await live.getByLabel("Limit in any 24 hours").fill("10");
    await page.getByRole("button", { name: "See what would have been" }).click();
    await page.getByRole("heading", { name: "What would have been" }).waitFor();
    const calls = await page.getByRole("table", { name: "Calls" }).innerText();
    assert.match(calls, /Granted\s+60\s+10\b/);
    await isWell(visitor, "what would have been");
    const { body } = await here.service.api("GET", "/orgs/watched");
    assert.equal(body.entry.org.workspaces[0].dailyCalls, "100");
  });

  test("a declaration is reviewed, saved, said and listed", async (t) => {
    const visitor = await here.visit(t, "/orgs/at-rest/settings");
    const { page } = visitor;
    await page.getByLabel("Calls in any 24 hours").fill("120,000");
    await page.getByRole("button", { name: "Review the change" }).click();
    await page.getByText("120,000").first().waitFor();
    await isWell(visitor, "a change to be reviewed");
    const before = await here.service.api("GET", "/orgs/at-rest");
    assert.equal(before.body.entry.org.dailyCalls, "100000");
    await page.getByRole("button", { name: "Save", exact: false }).click();
    await page.getByRole("status").filter({ hasText: /\S/ }).first().waitFor();
    await isWell(visitor, "a change that was saved");
    const after = await here.service.api("GET", "/orgs/at-rest");
    assert.equal(after.body.entry.org.dailyCalls, "120000");
    await page.goto(`${here.url}/orgs/at-rest/changes`);
    await page.locator("summary").first().click();
    await page.getByText("120000").first().waitFor();
    await isWell(visitor, "the list of changes");
  });

  test("what cannot be is said beside its field, and what was typed is kept", async (t) => {
    const visitor = await here.visit(t, "/orgs/at-rest/settings");
    const { page } = visitor;
    await page.getByLabel("Kept for other integrations").fill("95");
    await page.getByRole("button", { name: "Review the change" }).click();
    await page.getByRole("alert").waitFor();
    assert.equal(await page.getByLabel("Kept for other integrations").inputValue(), "95");
    const problems = visitor.problems.filter((problem) => !problem.includes("status of 4"));
    await isWell({ page, problems }, "a form with a fault");
  });

  test("who saves what somebody else has changed meanwhile is told, and loses nothing", async (t) => {
    const visitor = await here.visit(t, "/orgs/uncapped/settings");
    const { page } = visitor;
    await page.getByLabel("Calls in any 24 hours").fill("6000");
    await page.getByRole("button", { name: "Review the change" }).click();
    await page.getByRole("button", { name: "Save", exact: false }).waitFor();
    const org = { id: "uncapped", dailyCalls: 7_000, workspaces: [{ id: "free" }] };
    const put = await here.service.api("PUT", "/orgs/uncapped", { org });
    assert.equal(put.status, 200, JSON.stringify(put.body));
    await page.getByRole("button", { name: "Save", exact: false }).click();
    await page.getByRole("alert").waitFor();
    const { body } = await here.service.api("GET", "/orgs/uncapped");
    assert.equal(body.entry.org.dailyCalls, "7000");
    const problems = visitor.problems.filter((problem) => !problem.includes("status of 4"));
    await isWell({ page, problems }, "a conflict");
  });

  test("an org is added from nothing", async (t) => {
    const visitor = await here.visit(t, "/settings");
    const { page } = visitor;
    await page.getByLabel("Salesforce org id").fill("brand-new");
    await page.getByRole("button", { name: "Continue" }).click();
    await page.getByLabel("Calls in any 24 hours").fill("5000");
    await page.getByRole("button", { name: "Review the change" }).click();
    await page.getByRole("button", { name: "Save", exact: false }).click();
    await page.getByRole("status").filter({ hasText: /\S/ }).first().waitFor();
    const { status, body } = await here.service.api("GET", "/orgs/brand-new");
    assert.deepEqual([status, body.entry.org.dailyCalls], [200, "5000"]);
    await isWell(visitor, "an org that was added");
  });
});
