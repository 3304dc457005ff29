import { type AdapterOptions, startCall } from "./call.js";
import type { Client } from "./client.js";
import { QuotagateError } from "./errors.js";
import { type HttpRequest, wantsBody } from "./rules.js";

/** How `client.fetch` works. */
export interface FetchOptions extends AdapterOptions {
  /** What sends the requests; one call of it must be one request on the wire. Default: the global one. */
  readonly fetch?: typeof globalThis.fetch | undefined;
}

const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** As many as the Fetch standard follows. */
const MAX_REDIRECTS = 20;
/** Headers of a body, which a redirect to GET drops. */
const BODY_HEADERS = ["content-encoding", "content-language", "content-location", "content-type"];
/** Headers that another origin must not see. */
const SECRET_HEADERS = ["authorization", "cookie", "proxy-authorization", "host"];

/**
 * A `fetch` that takes a permit for each request on the wire and reports its
 * answer. Redirects are followed here, since each hop is a request of its own.
 *
 * Without a permit it rejects like any failing `fetch`: with a `TypeError`, whose
 * `cause` is the error of this package.
 */
export function quotaFetch(client: Client, options: FetchOptions): typeof globalThis.fetch {
  const send = options.fetch ?? globalThis.fetch;
  return async (input, init = {}) => {
    const request = input instanceof Request ? input : undefined;
    const follows = (init.redirect ?? request?.redirect ?? "follow") === "follow";
    // A redirect may ask for the body once more.
    const spare = follows && request?.body && !init.body ? request.clone() : undefined;
    try {
      let hop: Hop = { input, init: follows ? { ...init, redirect: "manual" } : init };
      for (let redirects = 0; ; redirects += 1) {
        const response = await sendOne(client, options, send, hop);
        const location = response.headers.get("location");
        if (!follows || !REDIRECTS.has(response.status) || location === null) {
          return redirects === 0 ? response : redirected(response);
        }
        await response.body?.cancel();
        if (redirects === MAX_REDIRECTS) {
          throw new TypeError("fetch failed", { cause: new Error("redirect count exceeded") });
        }
        hop = nextHop(hop, response.status, location, spare);
      }
    } finally {
      if (spare && !spare.bodyUsed) {
        spare.body?.cancel().catch(() => {});
      }
    }
  };
}

interface Hop {
  readonly input: string | URL | Request;
  readonly init: RequestInit;
}

async function sendOne(
  client: Client,
  options: FetchOptions,
  send: typeof globalThis.fetch,
  { input, init }: Hop,
): Promise<Response> {
  const request = input instanceof Request ? input : undefined;
  const method = init.method ?? request?.method ?? "GET";
  const url = urlOf(input);
  const signal = init.signal ?? request?.signal;
  const body = await bodyText(url, init.body, request);
  let call: Awaited<ReturnType<typeof startCall>>;
  try {
    call = await startCall(client, options, { method, url, body }, signal);
  } catch (error) {
    throw asOfFetch(error);
  }
  let response: Response;
  try {
    response = await call.send((departure) =>
      send(input, departure ? { ...init, signal: either(signal, departure) } : init),
    );
  } catch (error) {
    throw asOfFetch(call.failed(error));
  }
  call.answered(response);
  if (response.status === 421 && !options.fetch && !(init.body instanceof ReadableStream)) {
    countRepeat(client, options, { method, url, body });
  }
  return response;
}

function asOfFetch(error: unknown): unknown {
  return error instanceof QuotagateError
    ? new TypeError(`fetch failed: ${error.message}`, { cause: error })
    : error;
}

function either(signal: AbortSignal | undefined, departure: AbortSignal): AbortSignal {
  return signal ? AbortSignal.any([signal, departure]) : departure;
}

/**
 * On 421 Node's `fetch` sends a request a second time by itself, as the Fetch
 * standard wants, and shows only the second answer. Both went over the wire.
 */
function countRepeat(client: Client, options: FetchOptions, request: HttpRequest): void {
  startCall(client, options, request).then(
    (call) => call.answered({ status: 421 }),
    // What was sent cannot be taken back.
    () => {},
  );
}

function urlOf(input: string | URL | Request): string {
  return input instanceof Request ? input.url : String(input);
}

/** The body as text, where it is at hand or the rules want it. */
async function bodyText(
  url: string,
  body: RequestInit["body"],
  request: Request | undefined,
): Promise<string | undefined> {
  if (typeof body === "string") {
    return body;
  }
  if (!wantsBody(url)) {
    return undefined;
  }
  if (body instanceof URLSearchParams) {
    return String(body);
  }
  if (body instanceof Blob) {
    return body.text();
  }
  if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) {
    return new TextDecoder().decode(body);
  }
  return body || !request?.body ? undefined : request.clone().text();
}

/** The request that a redirect asks for, by the Fetch standard's "HTTP-redirect fetch". */
function nextHop(
  { input, init }: Hop,
  status: number,
  location: string,
  spare: Request | undefined,
): Hop {
  const from = urlOf(input);
  const to = new URL(location, from);
  const request = input instanceof Request ? input : undefined;
  const method = (init.method ?? request?.method ?? "GET").toUpperCase();
  const headers = new Headers(init.headers ?? request?.headers);
  const becomesGet =
    ((status === 301 || status === 302) && method === "POST") ||
    (status === 303 && method !== "GET" && method !== "HEAD");
  if (new URL(from).origin !== to.origin) {
    for (const name of SECRET_HEADERS) {
      headers.delete(name);
    }
  }
  const { body: sent, ...rest } = init;
  const signal = init.signal ?? request?.signal;
  const next: RequestInit = { ...rest, redirect: "manual", headers, ...(signal ? { signal } : {}) };
  if (becomesGet) {
    for (const name of BODY_HEADERS) {
      headers.delete(name);
    }
    return { input: to, init: { ...next, method: "GET" } };
  }
  if (sent instanceof ReadableStream) {
    throw new TypeError("fetch failed", {
      cause: new Error("a stream cannot be sent again to where it is redirected"),
    });
  }
  if (spare) {
    const again = spare.clone().body;
    return {
      input: to,
      init: { ...next, method, ...(again ? { body: again, duplex: "half" } : {}) },
    };
  }
  return { input: to, init: { ...next, method, ...(sent ? { body: sent } : {}) } };
}

function redirected(response: Response): Response {
  return Object.defineProperty(response, "redirected", { value: true });
}
