// What is declared through the pages: each change is shown before it is saved, asked
// once, said when it is done, listed, and obeyed by the next call over gRPC and JSON.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isWell, makeCalls, quotagate, scene } from "./support.js";

const ANN = "005000000000001AAA";
const BOB = "005000000000002AAA";
const CONFIG = `
unknown: {orgs: template, workspaces: refuse, users: refuse}
template: {daily_calls: 15000, concurrent_calls: 5, reserve_percent: 5}
orgs:
  - {id: capped, daily_calls: 15000, workspaces: [{id: live, daily_calls: 50}]}
  - {id: listed, daily_calls: 15000, execution_users: [${ANN}], workspaces: [{id: old, daily_calls: 2000}]}
  - {id: declared-twice, daily_calls: 15000}
`;

describe("a change that is made through the pages", () => {
  const here = scene(CONFIG);

  /** One call by gRPC and one by JSON: whether each is granted, refused or unknown. */
  async function ask(org, more) {
    const options = Object.entries({ org, operation: "rest", ...more });
    const args = options.flatMap(([name, value]) => [`--${name}`, value]);
    const grpc = await quotagate(here.service, "acquire", ...args);
    const body = {
      operation: more.operation ?? "rest",
      workspace: more.workspace,
      executionUser: more["execution-user"],
    };
    const json = await here.service.api("POST", `/orgs/${org}:acquire`, body);
    return [grpc.code, json.status];
  }
  const GRANTED = [0, 200];
  const DENIED = [3, 429];
  const UNKNOWN = [1, 404];

  /** Nothing is changed by a review; one press saves it, and the page says what it did. */
  async function reviewAndSave(visitor, { button, shown, said, before }) {
    const { page } = visitor;
    const table = page.getByRole("table", { name: "What would change" });
    await table.waitFor();
    const would = await table.innerText();
    for (const words of shown) {
      assert.match(would, words);
    }
    await isWell(visitor, `the review: ${button}`);
    await before();
    await page.getByRole("button", { name: button, exact: true }).click();
    const done = page.getByRole("status", { name: "Saved" });
    await done.waitFor();
    const did = await done.innerText();
    for (const words of said) {
      assert.match(did, words);
    }
    await isWell(visitor, `after: ${button}`);
  }

  /** The newest change of an org, on its page and on that of all orgs. */
  async function standsInChanges(page, org, did, words) {
    for (const path of [`/orgs/${org}/changes`, "/changes"]) {
      await page.goto(here.url + path);
      const newest = page.locator("ol.changes > li").first();
      assert.match(await newest.getByRole("heading").innerText(), did);
      const text = await newest.innerText();
      for (const word of words) {
        assert.match(text, word);
      }
    }
  }

  test("a workspace's limit holds for the next call over gRPC", async (t) => {
    await makeCalls(here.service, "capped", 50, {
      workspace: "live",
      trafficClass: "TRAFFIC_CLASS_INTERACTIVE",
    });
    const interactive = ["--org", "capped", "--operation", "rest", "--workspace", "live"].concat([
      "--traffic-class",
      "interactive",
    ]);
    const acquire = () => quotagate(here.service, "acquire", ...interactive);
    const denied = await acquire();
    assert.equal(denied.code, 3, denied.text);
    assert.match(denied.text, /workspace live has used 50 of 50/);
    const { page } = await here.visit(t, "/orgs/capped");
    const card = page
      .getByRole("article")
      .filter({ has: page.getByRole("heading", { name: "live" }) });
    await card.getByLabel("Limit").fill("1,200");
    await card.getByRole("button", { name: "See what it changes" }).click();
    await page.getByText("1,200", { exact: true }).first().waitFor();
    assert.equal((await acquire()).code, 3, "a preview changes nothing");
    await page.getByRole("button", { name: "Save" }).click();
    await page.waitForURL((url) => url.pathname === "/orgs/capped");
    const granted = await acquire();
    assert.equal(granted.code, 0, granted.text);
  });

  test("a workspace is added, and removed again", async (t) => {
    const asked = { workspace: "fresh" };
    assert.deepEqual(await ask("listed", asked), UNKNOWN);
    const visitor = await here.visit(t, "/orgs/listed/settings");
    const { page } = visitor;
    await page.getByRole("link", { name: "Add a workspace" }).click();
    await page.getByLabel("Name", { exact: true }).fill("fresh");
    await page.getByLabel("Cap in any 24 hours").fill("1500");
    await page.getByRole("button", { name: "Review the change" }).click();
    await reviewAndSave(visitor, {
      button: "Save",
      shown: [/fresh/, /1,500/],
      said: [/Saved, and in force/, /fresh/, /1,500/],
      before: async () => assert.deepEqual(await ask("listed", asked), UNKNOWN),
    });
    assert.deepEqual(await ask("listed", asked), GRANTED);
    await standsInChanges(page, "listed", /declared a workspace/, [
      /PutWorkspace/,
      /fresh/,
      /1,500/,
    ]);

    await page.goto(`${here.url}/orgs/listed/settings`);
    await page.getByRole("link", { name: "Edit fresh" }).click();
    await page.getByRole("button", { name: "Remove…" }).click();
    await reviewAndSave(visitor, {
      button: "Remove the workspace",
      shown: [/fresh/, /1,500/],
      said: [/fresh/],
      before: async () => assert.deepEqual(await ask("listed", asked), GRANTED),
    });
    assert.deepEqual(await ask("listed", asked), UNKNOWN);
    await standsInChanges(page, "listed", /removed a workspace/, [/DeleteWorkspace/, /fresh/]);
  });

  test("an execution user is added to the pool, and taken out again", async (t) => {
    const asked = {
      operation: "conversation-entries.get",
      "execution-user": BOB,
      workspace: "old",
    };
    assert.deepEqual(await ask("listed", asked), UNKNOWN);
    const visitor = await here.visit(t, "/orgs/listed/settings");
    const { page } = visitor;
    await page.getByLabel("Salesforce user id").fill(BOB);
    await page.getByRole("button", { name: "Add a user" }).click();
    await reviewAndSave(visitor, {
      button: "Add the user",
      shown: [new RegExp(BOB)],
      said: [new RegExp(BOB)],
      before: async () => assert.deepEqual(await ask("listed", asked), UNKNOWN),
    });
    assert.deepEqual(await ask("listed", asked), GRANTED);
    await standsInChanges(page, "listed", /added an execution user/, [new RegExp(BOB)]);

    await page.goto(`${here.url}/orgs/listed/settings`);
    await page.getByRole("button", { name: `Take out ${BOB}` }).click();
    await reviewAndSave(visitor, {
      button: "Take the user out",
      shown: [new RegExp(BOB)],
      said: [new RegExp(BOB)],
      before: async () => assert.deepEqual(await ask("listed", asked), GRANTED),
    });
    assert.deepEqual(await ask("listed", asked), UNKNOWN);
    await standsInChanges(page, "listed", /took an execution user out/, [new RegExp(BOB)]);
  });

  test("an org is withdrawn: what the file says of it holds again", async (t) => {
    const org = { id: "declared-twice", dailyCalls: 10 };
    assert.equal((await here.service.api("PUT", `/orgs/${org.id}`, { org })).status, 200);
    await makeCalls(here.service, org.id, 10);
    assert.deepEqual(await ask(org.id, {}), DENIED);
    const visitor = await here.visit(t, `/orgs/${org.id}/settings`);
    const { page } = visitor;
    await page.getByRole("button", { name: "Withdraw…" }).click();
    await reviewAndSave(visitor, {
      button: "Withdraw it",
      shown: [/Calls in any 24 hours\s+10\s+what the file says/],
      said: [/Calls in any 24 hours\s+10\s/],
      before: async () => assert.deepEqual(await ask(org.id, {}), DENIED),
    });
    assert.deepEqual(await ask(org.id, {}), GRANTED);
    await standsInChanges(page, org.id, /withdrew the declaration/, [
      /DeleteOrg/,
      /Calls in any 24 hours\s+10\s/,
    ]);
  });
});
