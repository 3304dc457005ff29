// A cluster as people run it: three nodes, and an etcd that can be taken away.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { REPOSITORY, startService, until } from "./support.js";

/** The program, if it is installed: what QUOTAGATE_ETCD names, the one that `./x tools`
 * has built, the system's. */
export function findEtcd() {
  const tools = join(REPOSITORY, ".tools");
  const built = existsSync(tools) ? readdirSync(tools).filter((name) => /^etcd-/.test(name)) : [];
  const folders = [...built.sort().reverse(), "packaged"].map((name) => join(tools, name));
  const paths = [...folders, ...(process.env.PATH ?? "").split(delimiter)];
  const programs = paths.map((folder) => join(folder, "etcd"));
  return [process.env.QUOTAGATE_ETCD, ...programs].find((path) => path && existsSync(path));
}

/** One member, on a port of its own. */
async function startEtcd(program) {
  const data = await mkdtemp(join(tmpdir(), "quotagate-browser-etcd-"));
  const [client, peer] = await Promise.all([freePort(), freePort()]);
  const [client_url, peer_url] = [client, peer].map((port) => `http://127.0.0.1:${port}`);
  const options = {
    "data-dir": data,
    "listen-client-urls": client_url,
    "advertise-client-urls": client_url,
    "listen-peer-urls": peer_url,
    "initial-advertise-peer-urls": peer_url,
    "initial-cluster": `default=${peer_url}`,
    "unsafe-no-fsync": "true",
    "log-level": "error",
  };
  const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`);
  const child = spawn(program, args, { stdio: "ignore" });
  await until("etcd is well", async () => {
    const health = await fetch(`${client_url}/health`).catch(() => undefined);
    return health?.ok;
  });
  return {
    endpoint: `127.0.0.1:${client}`,
    async stop() {
      if (child.exitCode === null && child.signalCode === null) {
        const ended = once(child, "exit");
        child.kill("SIGKILL");
        await ended;
      }
      await rm(data, { recursive: true, force: true });
    },
  };
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** Three nodes of one cluster, which own all of its shards. */
export async function startCluster(program, config, names = ["ada", "bell", "cray"]) {
  const etcd = await startEtcd(program);
  const nodes = [];
  const stop = async () => {
    await Promise.all(nodes.map((node) => node.stop()));
    await etcd.stop();
  };
  try {
    await startNodes(etcd, nodes, config, names);
  } catch (failure) {
    await stop();
    throw failure;
  }
  return { etcd, nodes, stop };
}

async function startNodes(etcd, nodes, config, names) {
  for (const name of names) {
    const creates = nodes.length === 0 ? ["--create-cluster"] : [];
    const args = ["--store", `etcd://${etcd.endpoint}/browser`, "--node", name];
    nodes.push(await startService(config, ...args, "--peer", "127.0.0.1:0", ...creates));
  }
  await until("every node owns shards", async () => {
    const { body } = await nodes[0].api("GET", "/cluster");
    const owned = (body?.nodes ?? []).map((node) => node.ownedShards ?? 0);
    return owned.length === names.length && owned.every((shards) => shards > 0);
  });
}
