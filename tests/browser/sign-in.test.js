import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "node:test";
import { isWell, SCHEMES, scene, WIDTHS } from "./support.js";

const OPS = "qg_ops-token-of-the-browser-tests-000000000000";
const READER = "qg_reader-token-of-the-browser-tests-000000000";
const LEE = "qg_lee-token-of-the-browser-tests-000000000000";
const sha256 = (token) => createHash("sha256").update(token).digest("hex");

const CONFIG = `
orgs:
  - {id: acme, daily_calls: 15000, workspaces: [{id: inbox, daily_calls: 1000}]}
  - {id: other, daily_calls: 15000}
auth:
  tokens:
    - {name: ops, sha256: ${sha256(OPS)}}
    - {name: reader, sha256: ${sha256(READER)}}
    - {name: lee, sha256: ${sha256(LEE)}}
  rules:
    - {who: ["token:ops"], orgs: ["*"], workspaces: ["*", ""], may: [acquire, report, read, admin]}
    - {who: ["token:reader"], orgs: [acme], workspaces: ["*", ""], may: [read]}
    - {who: ["token:lee"], orgs: [acme], workspaces: [inbox], may: [read, admin]}
`;

describe("where callers are identified", () => {
  const here = scene(CONFIG);

  async function signIn(page, token) {
    await page.getByLabel("Token").fill(token);
    await page.getByRole("button", { name: "Sign in" }).click();
  }

  test("a stranger is asked for a token, and goes on to what they asked for", async (t) => {
    for (const scheme of SCHEMES) {
      const visitor = await here.visit(t, "/orgs/acme", { scheme });
      const { page } = visitor;
      assert.equal(new URL(page.url()).pathname, "/sign-in");
      await isWell(visitor, `the sign-in page, ${scheme}`);
      await signIn(page, OPS);
      await page.waitForURL(`${here.url}/orgs/acme`);
      await isWell(visitor, `the org's page, ${scheme}`);
      await page.getByRole("button", { name: "Sign out" }).click();
      await page.goto(`${here.url}/`);
      assert.equal(new URL(page.url()).pathname, "/sign-in");
    }
  });

  test("a wrong token is refused in words, and the right one is taken after it", async (t) => {
    const visitor = await here.visit(t, "/");
    const { page, problems } = visitor;
    await signIn(page, "qg_wrong");
    await page.getByRole("alert").waitFor();
    // The browser tells of the status by itself.
    const ours = problems.filter((problem) => !problem.includes("status of 401"));
    assert.deepEqual(ours, []);
    problems.length = 0;
    await isWell(visitor, "the sign-in page after a refusal");
    await signIn(page, OPS);
    await page.waitForURL(`${here.url}/`);
  });

  test("who may only read one org sees that one, and is offered nothing to change", async (t) => {
    const visitor = await here.visit(t, "/");
    const { page, problems } = visitor;
    await signIn(page, READER);
    await page.waitForURL(`${here.url}/`);
    const main = page.getByRole("main");
    assert.ok(await main.getByText("acme").first().isVisible());
    assert.equal(await main.getByText("other", { exact: true }).count(), 0);
    await page.goto(`${here.url}/orgs/acme`);
    assert.equal(await page.locator("main form[method=post]").count(), 0);
    await isWell(visitor, "an org's page of somebody who may only read it");
    // A stranger to an org learns nothing of whether it is there.
    const seen = [];
    for (const org of ["other", "no-such-org"]) {
      const answer = await page.goto(`${here.url}/orgs/${org}`);
      assert.equal(answer.status(), 403);
      seen.push((await main.innerText()).replaceAll(org, "ORG"));
    }
    assert.equal(seen[0], seen[1]);
    const ours = problems.filter((problem) => !problem.includes("status of 403"));
    assert.deepEqual(ours, []);
  });

  test("who administers one workspace reads the org's settings, and changes that one's", async (t) => {
    for (const scheme of SCHEMES) {
      const visitor = await here.visit(t, "/orgs/acme/settings", { scheme });
      const { page } = visitor;
      await signIn(page, LEE);
      await page.waitForURL(`${here.url}/orgs/acme/settings`);
      assert.match(await page.getByRole("main").innerText(), /Calls in any 24 hours\s+15,000/);
      assert.equal(await page.locator("main form[method=post]").count(), 0);
      for (const width of WIDTHS) {
        await page.setViewportSize({ width, height: 900 });
        await isWell(visitor, `settings that are only read, at ${width}, ${scheme}`);
      }
      await page.getByRole("link", { name: "Edit inbox" }).click();
      await page.getByRole("button", { name: "Review the change" }).waitFor();
    }
  });

  test("no script reads the session, and no other site may use it", async (t) => {
    const visitor = await here.visit(t, "/");
    const { page } = visitor;
    await signIn(page, OPS);
    await page.waitForURL(`${here.url}/`);
    assert.equal(await page.evaluate(() => document.cookie), "");
    const [cookie] = await page.context().cookies();
    assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, "Strict"]);
    const answer = await page.request.put(`${here.url}/api/v1/orgs/acme`, {
      data: { id: "acme", dailyCalls: 1 },
      headers: { origin: "http://evil.example" },
    });
    assert.equal(answer.status(), 403);
  });
});
