// 200 pages that stay open over 10,000 orgs while calls are made: what the service
// takes for them, a line for each minute. Linux only.
// Usage: npm run live [-- MINUTES]   (MINUTES: 60; QUOTAGATE_BIN: an optimised build)
import { readFile } from "node:fs/promises";
import { get } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { makeCalls, read, startService } from "./support.js";

const ORGS = 10_000;
const ON_HOME = 150;
const ON_ORGS = 50;
const CALLS_EVERY_MS = 200;
const MINUTE_MS = 60_000;
/** Linux counts CPU in hundredths of a second. */
const TICKS = 100;

const minutes = Number(process.argv[2] ?? 60);
const orgs = Array.from(
  { length: ORGS },
  (_, i) => `  - {id: org-${i}, daily_calls: 15000, workspaces: [{id: inbox, daily_calls: 6000}]}`,
);
const service = await startService(`orgs:\n${orgs.join("\n")}\n`);
let open = 0;
let bytes = 0;
let ended = false;

/** Follows a page as its script does: from the beginning again when the stream ends. */
function follow(path) {
  if (ended) return;
  const again = () => setTimeout(follow, 500, path);
  const options = { headers: { accept: "text/event-stream" }, agent: false };
  get(service.url + path, options, (answer) => {
    open += 1;
    answer.on("data", (data) => {
      bytes += data.length;
    });
    answer.on("close", () => {
      open -= 1;
      again();
    });
  }).on("error", again);
}

async function callNowAndThen() {
  const ask = { workspace: "inbox", trafficClass: "TRAFFIC_CLASS_INTERACTIVE" };
  while (!ended) {
    const org = `org-${Math.floor(Math.random() * 200)}`;
    await makeCalls(service, org, 1 + Math.floor(Math.random() * 3), ask);
    if (Math.random() < 0.05) await read(service, org, 3000, 15_000);
    await sleep(CALLS_EVERY_MS);
  }
}

/** Resident memory in MiB, and seconds of CPU since the start. */
async function taken() {
  const about = (what) => readFile(`/proc/${service.child.pid}/${what}`, "utf8");
  const [status, stat] = await Promise.all([about("status"), about("stat")]);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return {
    memory: Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)[1]) / 1024),
    cpu: (Number(fields[11]) + Number(fields[12])) / TICKS,
  };
}

for (let page = 0; page < ON_HOME; page++) follow("/");
for (let page = 0; page < ON_ORGS; page++) follow(`/orgs/org-${page % 10}`);
const calls = callNowAndThen();
let before = await taken();
for (let minute = 1; minute <= minutes; minute++) {
  await sleep(MINUTE_MS);
  const now = await taken();
  const share = ((now.cpu - before.cpu) / (MINUTE_MS / 1000)) * 100;
  const sent = Math.round(bytes / 1024 / 1024);
  console.log(
    `${minute} min: ${now.memory} MiB, ${share.toFixed(1)} % of a core, ${open} pages, ${sent} MiB sent`,
  );
  before = now;
}
ended = true;
await calls;
await service.stop();
process.exit();
