// What the tests share: the programs they run against, and a service of their own.
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { createServer, type RequestListener, type Server } from "node:http";
import { type AddressInfo, createServer as createTcpServer, type Socket } from "node:net";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import * as grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

export const PROJECT = dirname(dirname(fileURLToPath(import.meta.url)));
export const REPOSITORY = join(PROJECT, "../..");
export const CONFORMANCE = join(REPOSITORY, "clients/conformance");

const BINARY = process.env.QUOTAGATE_BIN ?? join(REPOSITORY, "target/debug/quotagate");

/** A program that was started, and what its first lines said. */
export interface Program extends AsyncDisposable {
  readonly child: ChildProcess;
  /** The address that it printed under a name. */
  address(name: string): string;
}

/** Options of a client where time is not the point: nothing fails because a machine is busy. */
export const PATIENT = { timeoutMs: 20_000 };

/** The service, with an empty store. */
export function startService(config: string, address = "127.0.0.1:0"): Promise<Program> {
  return startProgram(
    ["gRPC", "HTTP"],
    ["serve", "--store", "memory:", "--config", join(CONFORMANCE, config)].concat(
      ["--grpc", address],
      ["--http", "127.0.0.1:0"],
    ),
  );
}

/** The strict stand-in for Salesforce. */
export function startStandIn(...options: string[]): Promise<Program> {
  return startProgram(["stand-in"], ["standin", "--listen", "127.0.0.1:0", ...options]);
}

async function startProgram(names: string[], args: string[]): Promise<Program> {
  if (!existsSync(BINARY)) {
    throw new Error(`${BINARY} does not exist: build it, or set QUOTAGATE_BIN`);
  }
  const child = spawn(BINARY, args, { stdio: ["ignore", "pipe", "pipe"] });
  const addresses = new Map<string, string>();
  let errors = "";
  child.stderr.on("data", (chunk) => {
    errors = (errors + chunk).slice(-4_000);
  });
  await new Promise<void>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", () => reject(new Error(`quotagate ${args[0]} has ended: ${errors}`)));
    createInterface(child.stdout).on("line", (line) => {
      const [name, address] = line.split(/\s+/);
      if (name && address && names.includes(name)) {
        addresses.set(name, address);
        if (addresses.size === names.length) {
          resolve();
        }
      }
    });
  });
  return {
    child,
    address(name) {
      const address = addresses.get(name);
      if (!address) {
        throw new Error(`no address of ${name}`);
      }
      return address;
    },
    [Symbol.asyncDispose]: () => kill(child),
  };
}

/** Ends a process as `kill -9` does, and waits for its end. */
export async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) {
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }
}

/** Runs a module of the tests in a process of its own. */
export function runModule(name: string, args: string[], options: SpawnOptions = {}): ChildProcess {
  const path = join(dirname(fileURLToPath(import.meta.url)), name);
  return spawn(process.execPath, [path, ...args], { stdio: "pipe", ...options });
}

/** All that a process writes, and how it ends; it is killed if it does not. */
export async function outcome(child: ChildProcess, withinMs: number) {
  let output = "";
  child.stdout?.on("data", (chunk) => {
    output += chunk;
  });
  child.stderr?.on("data", (chunk) => {
    output += chunk;
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), withinMs);
  const [code, signal] = await once(child, "close");
  clearTimeout(timer);
  return { code: code as number | null, signal: signal as string | null, output };
}

/** Asks until the answer is true. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!(await holds())) {
    if (performance.now() > deadline) {
      throw new Error(`in vain waited until ${what}`);
    }
    await sleep(5);
  }
}

/** A local HTTP server, for what Salesforce and its stand-in cannot be made to answer. */
export async function startHttp(listener: RequestListener) {
  const server: Server = createServer(listener);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** A TCP server that does with connections what no gRPC server does. */
export async function startTcp(onConnection: (socket: Socket) => void, port = 0) {
  const sockets = new Set<Socket>();
  const server = createTcpServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    onConnection(socket);
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) {
        socket.destroy();
      }
      server.close();
      await once(server, "close");
    },
  };
}

/** An address at which nobody listens. */
export async function nobodysAddress(): Promise<string> {
  await using server = await startTcp(() => {});
  return server.address;
}

const definition = loadSync("quotagate/v1/quota.proto", {
  includeDirs: [join(REPOSITORY, "proto")],
  longs: Number,
  enums: String,
  defaults: true,
  oneofs: true,
});
// biome-ignore lint/suspicious/noExplicitAny: the untyped contract, as any program may load it.
const { QuotaService } = (grpc.loadPackageDefinition(definition).quotagate as any).v1;

// biome-ignore lint/suspicious/noExplicitAny: messages of the untyped contract.
export type Message = any;

/** The generated stub, for what a client has no function for. */
export class Stub {
  readonly #client: Message;

  constructor(server: string) {
    this.#client = new QuotaService(server, grpc.credentials.createInsecure());
  }

  call(method: string, request: Message): Promise<Message> {
    return new Promise((resolve, reject) => {
      const deadline = Date.now() + 30_000;
      this.#client[method](request, { deadline }, (error: unknown, response: Message) =>
        error ? reject(error) : resolve(response),
      );
    });
  }

  close(): void {
    this.#client.close();
  }
}

/** What a service of a test's own does with a request: an answer, an error, or never any. */
export type Handler = (request: Message) => Message | grpc.StatusObject | Promise<Message>;

/** A service of a test's own, and all requests that it got. */
export async function startFake(handlers: Record<string, Handler>) {
  const requests: { method: string; request: Message }[] = [];
  const server = new grpc.Server();
  const implementation: Record<string, grpc.UntypedHandleCall> = {};
  for (const method of ["acquire", "release", "report", "getUsage"]) {
    const handle = async (
      call: grpc.ServerUnaryCall<Message, Message>,
      answer: grpc.sendUnaryData<Message>,
    ) => {
      requests.push({ method, request: call.request });
      try {
        answer(null, (await handlers[method]?.(call.request)) ?? {});
      } catch (error) {
        answer(error as grpc.ServiceError);
      }
    };
    implementation[method] = handle as grpc.UntypedHandleCall;
  }
  server.addService(QuotaService.service, implementation);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return {
    address: `127.0.0.1:${port}`,
    requests,
    of: (method: string) =>
      requests.filter((each) => each.method === method).map((each) => each.request),
    stop: () => server.forceShutdown(),
    async [Symbol.asyncDispose]() {
      server.forceShutdown();
    },
  };
}

/** A status as gRPC servers throw it. */
export function failure(code: grpc.status, details = "of the test"): Error {
  return Object.assign(new Error(details), { code, details });
}

/** A permit on the wire. */
export function permitMessage(fields: Message = {}): Message {
  return { permit: { permitId: "p", calls: 1, ttl: { seconds: 30 }, ...fields } };
}
