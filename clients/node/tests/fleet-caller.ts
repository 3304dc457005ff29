// One process of a fleet: waits for the word, calls until it is told to stop, and prints when
// each answer came.
import { once } from "node:events";
import { Client, PermitExpired, quotagateErrorOf } from "@quotagate/client";

/** Calls that are under way at the same time. */
const CALLS = 3;

const [server = "", standIn = ""] = process.argv.slice(2);

let isStopping = false;
process.on("SIGTERM", () => {
  isStopping = true;
});

await using client = new Client(server, { timeoutMs: 20_000, caller: "fleet" });
const send = client.fetch({
  org: "fleet",
  executionUser: "ann",
  maxWaitMs: 5_000,
  rules: () => ({ operation: "compressed.get" }),
});
process.stdout.write("ready\n");
await once(process.stdin, "data");
process.stdin.destroy();
await Promise.all(Array.from({ length: CALLS }, callUntilStopped));

async function callUntilStopped(): Promise<void> {
  while (!isStopping) {
    try {
      const response = await send(`${standIn}/services/data/v66.0/conversation-entries`, {
        headers: { Authorization: "Bearer fleet!ann" },
      });
      await response.text();
      process.stdout.write(`${response.status} ${performance.timeOrigin + performance.now()}\n`);
    } catch (error) {
      // A permit lives for a second here, which a busy machine may let pass.
      if (!(quotagateErrorOf(error) instanceof PermitExpired)) {
        throw error;
      }
    }
  }
}
