// Takes the pictures of the dashboard that README shows.
// Usage: node readme.js   (into docs/pages)
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { makeCalls, REPOSITORY, read, startBrowser, startService } from "./support.js";

const CONFIG = `
orgs:
  - id: acme-production
    daily_calls: 15000
    execution_users: [005Hs00000AnnXAIAZ, 005Hs00000BobXAIAZ]
    workspaces:
      - {id: inbox-eu, daily_calls: 6000}
      - {id: inbox-us, daily_calls: 1000}
      - {id: warehouse, daily_calls: 500}
  - {id: globex, daily_calls: 100000, workspaces: [{id: support, daily_calls: 40000}]}
  - {id: hooli, daily_calls: 5000}
  - {id: initech, daily_calls: 15000, workspaces: [{id: helpdesk, daily_calls: 2000}]}
  - {id: umbrella-sandbox, daily_calls: 5000}
`;

async function populate(service) {
  const as = (workspace, trafficClass) => ({
    workspace,
    trafficClass: `TRAFFIC_CLASS_${trafficClass}`,
  });
  await makeCalls(service, "acme-production", 1_200, as("inbox-eu", "EVENT"));
  await makeCalls(service, "acme-production", 480, as("inbox-eu", "INTERACTIVE"));
  await makeCalls(service, "acme-production", 790, as("inbox-us", "EVENT"));
  await makeCalls(service, "acme-production", 30, as("inbox-us", "INTERACTIVE"));
  await makeCalls(service, "acme-production", 190, as("warehouse", "BULK"));
  await makeCalls(service, "acme-production", 210, as("warehouse", "EVENT"));
  await makeCalls(service, "acme-production", 17, as("warehouse", "INTERACTIVE"));
  await read(service, "acme-production", 2_918 + 3_072, 15_000);
  await makeCalls(service, "globex", 18_300, as("support", "EVENT"));
  await read(service, "globex", 41_000, 100_000);
  await makeCalls(service, "initech", 2_000, as("helpdesk", "INTERACTIVE"));
  await read(service, "initech", 9_400, 15_000);
  await makeCalls(service, "umbrella-sandbox", 900, { workspace: "" });
  await read(service, "umbrella-sandbox", 4_744, 5_000);
}

const folder = join(REPOSITORY, "docs/pages");
await mkdir(folder, { recursive: true });
const [service, browser] = await Promise.all([startService(CONFIG), startBrowser()]);

async function picture(name, scheme, path, prepare = async () => {}, height = 900) {
  const { page, close } = await browser.visitor({ width: 1200, scheme });
  await page.setViewportSize({ width: 1200, height });
  await page.goto(service.url + path);
  await prepare(page);
  await page.screenshot({ path: join(folder, `${name}.png`) });
  await close();
}

try {
  await populate(service);
  await picture("orgs", "light", "/");
  await picture("org", "dark", "/orgs/acme-production", undefined, 1_000);
  await picture("what-if", "light", "/orgs/acme-production/what-if", async (page) => {
    const workspace = page.getByRole("group", { name: "inbox-us", exact: true });
    await workspace.getByLabel("Limit in any 24 hours").fill("400");
    await page.getByRole("button", { name: "See what would have been" }).click();
    await page.getByRole("heading", { name: "What would have been" }).waitFor();
  });
} finally {
  await browser.stop();
  await service.stop();
}
