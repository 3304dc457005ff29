import { AsyncLocalStorage } from "node:async_hooks";
import { subscribe } from "node:diagnostics_channel";
import type { ClientRequest } from "node:http";
import type { Socket } from "node:net";
import { performance } from "node:perf_hooks";
import { PermitExpired } from "./errors.js";
import type { Permit } from "./permit.js";

/** The departure that a request, wherever it is made, belongs to. */
const current = new AsyncLocalStorage<Departure>();
/** More would be 1 ms to `setTimeout`. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;
/** Requests of `fetch` that wait for their connection. */
const waiting = new WeakMap<object, Departure>();

/**
 * Sees to it that a request leaves before its permit's deadline or not at all:
 * between the start of a call and its first byte may lie a slow name server, and
 * seconds of waiting for a connection.
 *
 * What sends it has no say in this, since neither `fetch` nor jsforce tells when
 * a connection stands; but Node's own channels do, of its `fetch` (undici) and of
 * `node:http`. A library that uses neither is left alone.
 */
export class Departure {
  readonly #permit: Permit;
  readonly #abort = new AbortController();
  readonly #timer: NodeJS.Timeout;
  readonly #stops: ((reason: PermitExpired) => void)[] = [];
  #isOver = false;
  #reason: PermitExpired | undefined;

  constructor(permit: Permit) {
    watch();
    this.#permit = permit;
    const leftMs = Math.ceil(permit.deadline - performance.now()) + 1;
    const timeoutMs = Math.min(Math.max(leftMs, 0), MAX_TIMEOUT_MS);
    this.#timer = setTimeout(() => this.#stop(), timeoutMs).unref();
  }

  /** Why the request was stopped before it had left, if it was. */
  get missed(): PermitExpired | undefined {
    return this.#reason;
  }

  /** Calls what sends the request; the signal is for a `fetch`. */
  run<T>(send: (signal: AbortSignal) => T): T {
    return current.run(this, () => send(this.#abort.signal));
  }

  /** The request has an answer, or failed. */
  end(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
  }

  /** A `fetch` has made the request, which waits for its connection. */
  ofFetch(): void {
    this.#made((reason) => this.#abort.abort(reason));
  }

  /** `node:http` has made the request, which waits for its connection. */
  ofHttp(request: ClientRequest): void {
    if (this.#isOver) {
      return;
    }
    this.#made((reason) => request.destroy(reason));
    const onSocket = (socket: Socket) => {
      if (socket.connecting) {
        const isEncrypted = "encrypted" in socket;
        socket.once(isEncrypted ? "secureConnect" : "connect", () => this.left());
      } else {
        this.left();
      }
    };
    if (request.socket) {
      onSocket(request.socket);
    } else {
      request.once("socket", onSocket);
    }
  }

  /** The connection stands: the next that happens is that bytes leave. */
  left(): void {
    // The timer may be late, and knows nothing of a machine that was suspended.
    if (!this.#isOver && this.#permit.expired) {
      this.#stop();
    }
    this.end();
  }

  #made(stop: (reason: PermitExpired) => void): void {
    if (!this.#isOver) {
      this.#stops.push(stop);
      if (this.#permit.expired) {
        this.#stop();
      }
    }
  }

  /** Without anything to stop, it is not known whether the request has left. */
  #stop(): void {
    if (this.#isOver || this.#stops.length === 0) {
      return;
    }
    this.end();
    const reason = new PermitExpired("the permit's deadline passed before the request could leave");
    this.#reason = reason;
    for (const stop of this.#stops) {
      stop(reason);
    }
  }
}

let isWatching = false;

function watch(): void {
  if (isWatching) {
    return;
  }
  isWatching = true;
  subscribe("undici:request:create", (message) => {
    const departure = current.getStore();
    if (departure) {
      waiting.set((message as { request: object }).request, departure);
      departure.ofFetch();
    }
  });
  subscribe("undici:client:sendHeaders", (message) => {
    waiting.get((message as { request: object }).request)?.left();
  });
  // The first is of newer versions of Node. The second comes when the body has been
  // handed over, which for one that fills the buffer is after the connection.
  for (const channel of ["http.client.request.created", "http.client.request.start"]) {
    subscribe(channel, (message) => {
      current.getStore()?.ofHttp((message as { request: ClientRequest }).request);
    });
  }
}
