// The page of all orgs: what needs somebody comes first, and ten thousand are as easy to
// look through as ten.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isWell, makeCalls, scene, until } from "./support.js";
import { ACME, CONFIG, populate } from "./world.js";

const names = (page) => page.locator("#orgs li.org a").allInnerTexts();

describe("the page of all orgs", () => {
  const here = scene(CONFIG, populate);

  test("has what needs somebody first, each in a sentence", async (t) => {
    const { page } = await here.visit(t, "/");
    const shown = await names(page);
    assert.equal(shown[0], "cooling");
    assert.ok(shown.indexOf("nearly-full") < shown.indexOf("at-rest"));
    const cooling = await page.locator("#orgs li.org").first().innerText();
    assert.match(cooling, /Salesforce refuses/);
  });

  test("is ordered and searched by links and a form, and the URL holds both", async (t) => {
    const { page } = await here.visit(t, "/");
    await page.getByRole("link", { name: "By name" }).click();
    await page.waitForURL((url) => url.search !== "");
    const shown = await names(page);
    assert.deepEqual(shown, shown.toSorted());
    await page.getByRole("searchbox").fill("NEARLY");
    await page.keyboard.press("Enter");
    await page.waitForURL((url) => url.searchParams.get("search") === "NEARLY");
    assert.deepEqual(await names(page), ["nearly-full"]);
    await page.reload();
    assert.deepEqual(await names(page), ["nearly-full"]);
  });

  test("follows what happens, without being loaded again", async (t) => {
    const { page, problems } = await here.visit(t, "/");
    const acme = page.locator(`#org-${ACME}`);
    const before = await acme.innerText();
    await makeCalls(here.service, ACME, 11, { workspace: "inbox" });
    await until("the row has changed", async () => (await acme.innerText()) !== before);
    assert.deepEqual(problems, []);
  });

  test("leads to each org by the keyboard alone", async (t) => {
    const { page } = await here.visit(t, "/");
    const first = page.locator("#orgs li.org a").first();
    for (let presses = 0; presses < 40; presses += 1) {
      await page.keyboard.press("Tab");
      if (await first.evaluate((link) => link === document.activeElement)) {
        break;
      }
    }
    await page.keyboard.press("Enter");
    await page.waitForURL(/\/orgs\/cooling$/);
  });
});

describe("a page whose service has gone", () => {
  const here = scene(CONFIG);

  test("says that what it shows is not of this moment", async (t) => {
    const { page } = await here.visit(t, "/");
    await page.locator("#orgs li.org").first().waitFor();
    here.service.child.kill("SIGKILL");
    await page.getByRole("status").filter({ hasText: /\S/ }).waitFor();
    assert.ok((await names(page)).length > 0);
  });
});

describe("with ten thousand orgs", () => {
  const many = Array.from({ length: 10_000 }, (_, org) => `  - {id: org-${org}}`).join("\n");
  const here = scene(`orgs:\n${many}\n`);

  test("a page has fifty, the others are behind it, and each is found", async (t) => {
    const visitor = await here.visit(t, "/");
    const { page } = visitor;
    assert.equal((await names(page)).length, 50);
    const [entry] = await page.evaluate(() =>
      performance.getEntriesByType("navigation").map((entry) => entry.toJSON()),
    );
    const first = Math.round(entry.responseStart - entry.requestStart);
    t.diagnostic(`the first byte of 10,000 orgs after ${first} ms`);
    await isWell(visitor, "the first page of many");
    await page.getByRole("link", { name: /next/i }).click();
    await page.waitForURL((url) => url.search !== "");
    assert.equal((await names(page)).length, 50);
    await page.getByRole("searchbox").fill("org-7777");
    await page.keyboard.press("Enter");
    await page.waitForURL((url) => url.searchParams.get("search") === "org-7777");
    assert.deepEqual(await names(page), ["org-7777"]);
  });
});

describe("without an org", () => {
  const here = scene("orgs: []\n");

  test("the page says how to begin", async (t) => {
    const visitor = await here.visit(t, "/");
    const main = await visitor.page.getByRole("main").innerText();
    assert.match(main, /no orgs? yet|first org/i);
    await isWell(visitor, "the empty page");
  });
});
