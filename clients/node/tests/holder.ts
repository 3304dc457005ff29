// Takes a permit, says so, and does not come back.
import { Client } from "@quotagate/client";

const [server = ""] = process.argv.slice(2);
const client = new Client(server, { timeoutMs: 20_000 });
const permit = await client.acquire({
  org: "killed",
  operation: "conversations.delete",
  executionUser: "ann",
  calls: 3,
});
process.stdout.write(`${permit.calls}\n`);
setInterval(() => {}, 60_000);
