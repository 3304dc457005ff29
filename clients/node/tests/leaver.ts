// Uses a client, closes it, and has nothing else to do: the process has to end.
import { Client } from "@quotagate/client";

const [server = "", url = "", timeoutMs = ""] = process.argv.slice(2);
const client = new Client(server, {
  timeoutMs: Number(timeoutMs),
  outage: { event: "open" },
  warn() {},
});
const ask = { org: "leaver", operation: "rest", executionUser: "ann" };

const taken = await Promise.all(Array.from({ length: 5 }, () => client.acquire(ask)));
for (const permit of taken) {
  void permit.report(permit.start(), { status: 200 });
}
await client.acquire({ ...ask, trafficClass: "bulk" }).catch(() => {});
const send = client.fetch({ org: "leaver", executionUser: "ann" });
const response = await send(`${url}/services/data/v66.0/limits`).catch(() => undefined);
await response?.text();
await client.close();
process.stdout.write("closed\n");
