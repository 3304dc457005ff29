import { performance } from "node:perf_hooks";
import { Duplex } from "node:stream";
import { answerFrom } from "./answer.js";
import { type AdapterOptions, type Call, startCall } from "./call.js";
import type { Client } from "./client.js";
import { Denied, QuotagateError } from "./errors.js";

/** How `client.jsforce` works. */
export type JsforceOptions = AdapterOptions;

/** What of a `jsforce.Connection` (version 3) is used: what sends all of its requests. */
export interface JsforceConnection {
  // biome-ignore lint/suspicious/noExplicitAny: its type is of jsforce, which is no dependency.
  _transport: any;
}

interface Request {
  readonly url: string;
  readonly method: string;
  readonly headers?: Record<string, string>;
  readonly body?: unknown;
}

interface Options {
  readonly followRedirect?: boolean | ((url: string) => Request | null);
  readonly [option: string]: unknown;
}

interface Head {
  readonly statusCode: number;
  readonly headers: Record<string, string>;
}

interface Response extends Head {
  readonly body: string;
}

/** jsforce's `StreamPromise`: the answer, and a stream of the request's and the answer's body. */
interface Exchange extends Promise<Response> {
  stream(): Duplex;
}

interface Transport {
  httpRequest(request: Request, options?: Options): Exchange;
}

const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** As many as jsforce follows. */
const MAX_REDIRECTS = 10;
/** Of an error's body, so much is looked at. */
const MAX_BODY_CHARS = 64 * 1024;

/** Transports that are those of a hook. */
const hooked = new WeakSet<Transport>();

/**
 * Lets each request that a connection sends, those of its session's renewal
 * included, take a permit and be reported. Call sites stay as they are.
 *
 * jsforce repeats failed requests and follows redirects below the place that can
 * be seen from here. Its retries are therefore switched off; redirects are
 * followed here, each as a request of its own.
 *
 * Without a permit a request fails with the error of this package, which has an
 * `errorCode` as all errors of jsforce do: `REQUEST_LIMIT_EXCEEDED` for a denial,
 * `SERVER_UNAVAILABLE` for anything else.
 */
export function hookJsforce(
  client: Client,
  connection: JsforceConnection,
  options: JsforceOptions,
): () => void {
  const inner: Transport = connection._transport;
  if (typeof inner?.httpRequest !== "function" || "_xdProxyUrl" in inner) {
    throw new TypeError("this is no connection of jsforce 3 that sends its requests itself");
  }
  if (hooked.has(inner)) {
    throw new TypeError("this connection's requests take permits already");
  }
  // Whatever else the transport has stays reachable.
  const outer: Transport = Object.create(inner, {
    httpRequest: {
      value: (request: Request, requestOptions?: Options) =>
        exchange(client, options, inner, request, requestOptions ?? {}),
    },
  });
  hooked.add(outer);
  connection._transport = outer;
  return () => {
    if (connection._transport === outer) {
      connection._transport = inner;
    }
  };
}

function exchange(
  client: Client,
  options: JsforceOptions,
  inner: Transport,
  request: Request,
  requestOptions: Options,
): Exchange {
  const relay = new Relay();
  const answer = follow(client, options, inner, request, requestOptions, relay);
  // As jsforce's own: a failure is known by the promise and by the stream.
  answer.catch((error: Error) => relay.destroy(error));
  return Object.assign(answer, { stream: () => relay });
}

async function follow(
  client: Client,
  options: JsforceOptions,
  inner: Transport,
  first: Request,
  requestOptions: Options,
  relay: Relay,
): Promise<Response> {
  const { followRedirect = true } = requestOptions;
  const isFinal = (status: number) => !followRedirect || !REDIRECTS.has(status);
  let request = first;
  for (let redirects = 0; ; redirects += 1) {
    const call = await startCall(client, options, {
      method: request.method,
      url: request.url,
      body: textOf(request.body),
    }).catch(asOfJsforce);
    const sent = call.send(() =>
      inner.httpRequest(request, {
        ...requestOptions,
        followRedirect: false,
        retry: { methods: [] },
      }),
    );
    // Listened to at once, before anything can have come.
    const answered = reporting(call, sent);
    relay.connect(sent.stream(), redirects === 0, isFinal);
    const response = await answered;
    if (isFinal(response.statusCode)) {
      return response;
    }
    const location = response.headers.location;
    if (!location) {
      throw new Error("No redirect URI found");
    }
    if (redirects === MAX_REDIRECTS) {
      throw new Error("Reached to maximum redirect count");
    }
    const next =
      typeof followRedirect === "function"
        ? followRedirect(location)
        : redirected(request, new URL(location, request.url));
    if (!next) {
      throw new Error(`Cannot handle redirect for ${location}`);
    }
    request = next;
  }
}

/** Reports the answer: at its head if it is good, with its body if it is an error's. */
async function reporting(call: Call, sent: Exchange): Promise<Response> {
  let isReported = false;
  let receivedAt: number | undefined;
  const report = ({ statusCode, headers }: Head, body?: string) => {
    isReported = true;
    const named = { get: (name: string) => headers[name] };
    const beginning = body?.slice(0, MAX_BODY_CHARS);
    call.answered(answerFrom(statusCode, named, beginning, receivedAt ?? performance.now()));
  };
  let head: Head | undefined;
  sent.stream().on("response", (response: Head) => {
    receivedAt = performance.now();
    head = response;
    if (response.statusCode < 400) {
      report(response);
    }
  });
  try {
    const response = await sent;
    if (!isReported) {
      report(response, response.statusCode >= 400 ? response.body : undefined);
    }
    return response;
  } catch (error) {
    if (head && !isReported) {
      report(head);
    } else if (!isReported) {
      return asOfJsforce(call.failed(error));
    }
    throw error;
  }
}

function asOfJsforce(error: unknown): never {
  if (error instanceof QuotagateError) {
    const errorCode = error instanceof Denied ? "REQUEST_LIMIT_EXCEEDED" : "SERVER_UNAVAILABLE";
    Object.assign(error, { errorCode });
  }
  throw error;
}

function textOf(body: unknown): string | undefined {
  if (typeof body === "string") {
    return body;
  }
  return Buffer.isBuffer(body) ? body.toString("utf8") : undefined;
}

/** As jsforce does: by GET, with the same headers; but those of the session for the same origin only. */
function redirected(request: Request, to: URL): Request {
  const isSameOrigin = to.origin === new URL(request.url).origin;
  const headers = Object.entries(request.headers ?? {}).filter(
    ([name]) =>
      !/^content-/i.test(name) && (isSameOrigin || !/^(authorization|cookie)$/i.test(name)),
  );
  return { method: "GET", url: to.href, headers: Object.fromEntries(headers) };
}

/**
 * The stream of an exchange that has not begun: what is written waits for the
 * first request, what is read comes from the last answer.
 */
class Relay extends Duplex {
  #upload: Duplex | undefined;
  #onUpload: (upload: Duplex) => void = () => {};

  constructor() {
    super();
    // The promise has the failure too: nobody has to listen here.
    this.on("error", () => {});
  }

  /** Goes on with the stream of a request. */
  connect(stream: Duplex, isFirst: boolean, isFinal: (status: number) => boolean): void {
    stream.on("response", ({ statusCode }: Head) => {
      if (isFinal(statusCode)) {
        // Without regard to who reads here: jsforce has it all in memory anyway.
        stream.on("data", (chunk) => this.push(chunk));
        stream.on("end", () => this.push(null));
      }
    });
    if (isFirst) {
      this.#upload = stream;
      this.#onUpload(stream);
    }
  }

  override _write(chunk: unknown, encoding: BufferEncoding, done: (error?: Error | null) => void) {
    this.#withUpload((upload) => upload.write(chunk, encoding, done));
  }

  override _final(done: (error?: Error | null) => void) {
    this.#withUpload((upload) => {
      upload.end();
      done();
    });
  }

  override _read() {}

  #withUpload(use: (upload: Duplex) => void): void {
    if (this.#upload) {
      use(this.#upload);
    } else {
      this.#onUpload = use;
    }
  }
}
