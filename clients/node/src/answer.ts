import { performance } from "node:perf_hooks";
import type { Answer } from "./types.js";

/** What of a `fetch` response is looked at. */
export interface ResponseLike {
  readonly status: number;
  readonly headers: HeadersLike;
  readonly body: ReadableStream<Uint8Array> | null;
  clone(): ResponseLike;
}

/** Headers by name, in any case of letters. */
export interface HeadersLike {
  get(name: string): string | null | undefined;
}

/** The most of an error's body that is read, and the longest that is waited for it. */
const MAX_BODY_BYTES = 64 * 1024;
const MAX_BODY_MS = 2_000;
/** The service's bounds. */
const MAX_MESSAGE_BYTES = 1_024;
const MAX_CODE_BYTES = 128;
const MAX_LIMIT_INFOS = 8;

export function isResponse(answer: Answer | ResponseLike): answer is ResponseLike {
  return "headers" in answer && "clone" in answer;
}

/** The answer in a response. The body is read only of an error, and of a copy. */
export async function answerOf(
  response: ResponseLike,
  receivedAt = performance.now(),
): Promise<Answer> {
  const body = response.status >= 400 ? await textOf(response) : undefined;
  return answerFrom(response.status, response.headers, body, receivedAt);
}

/** The answer in a status, headers, and an error's body. */
export function answerFrom(
  status: number,
  headers: HeadersLike,
  body: string | undefined,
  receivedAt: number,
): Answer {
  const limitInfo = headers.get("sforce-limit-info");
  const answerTime = dateOf(headers.get("date"));
  return {
    status,
    limitInfo: limitInfo ? [limitInfo] : [],
    retryAfterMs: retryAfterOf(headers.get("retry-after"), answerTime),
    answerTime,
    ...(body === undefined ? {} : errorOf(body)),
    receivedAt,
  };
}

/** The raw values that the service takes, which refuses a report with more. */
export function limitInfoWithinBounds(values: readonly string[]): string[] {
  const short = values.filter((value) => Buffer.byteLength(value) <= 1_024);
  return short.slice(0, MAX_LIMIT_INFOS);
}

/** `errorCode` and `message` of Salesforce's error bodies; of any other body, its beginning. */
export function errorOf(body: string): { errorCode?: string; errorMessage: string } {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return { errorMessage: cut(body, MAX_MESSAGE_BYTES) };
  }
  const error = (Array.isArray(parsed) ? parsed[0] : parsed) as Record<string, unknown> | null;
  const text = (name: string) => {
    const value = typeof error === "object" ? error?.[name] : undefined;
    return typeof value === "string" ? value : undefined;
  };
  const errorCode = text("errorCode") ?? text("error");
  const errorMessage = text("message") ?? text("error_description");
  if (errorCode === undefined && errorMessage === undefined) {
    return { errorMessage: cut(body, MAX_MESSAGE_BYTES) };
  }
  return {
    ...(errorCode === undefined ? {} : { errorCode: cut(errorCode, MAX_CODE_BYTES) }),
    errorMessage: cut(errorMessage ?? "", MAX_MESSAGE_BYTES),
  };
}

/** `Retry-After`: seconds, or a date, which is taken against the answer's own. */
export function retryAfterOf(
  value: string | null | undefined,
  answerTime: Date | undefined,
): number | undefined {
  if (!value) {
    return undefined;
  }
  if (/^\d{1,9}$/.test(value.trim())) {
    return Number(value) * 1_000;
  }
  const until = dateOf(value);
  return until && Math.max(0, until.getTime() - (answerTime?.getTime() ?? Date.now()));
}

function dateOf(value: string | null | undefined): Date | undefined {
  const time = value ? Date.parse(value) : Number.NaN;
  return Number.isNaN(time) ? undefined : new Date(time);
}

async function textOf(response: ResponseLike): Promise<string | undefined> {
  let reader: ReadableStreamDefaultReader<Uint8Array>;
  try {
    const body = response.clone().body;
    if (body === null) {
      return undefined;
    }
    reader = body.getReader();
  } catch {
    // Somebody has read it already.
    return undefined;
  }
  let giveUp: (end: { done: true; value?: undefined }) => void = () => {};
  const late = new Promise<{ done: true; value?: undefined }>((resolve) => {
    giveUp = resolve;
  });
  const timer = setTimeout(() => giveUp({ done: true }), MAX_BODY_MS).unref();
  const chunks: Uint8Array[] = [];
  try {
    for (let length = 0; length < MAX_BODY_BYTES; ) {
      const { done, value } = await Promise.race([reader.read(), late]);
      if (done) {
        break;
      }
      chunks.push(value);
      length += value.length;
    }
  } catch {
    // Cut off: what has come is what there is.
  } finally {
    clearTimeout(timer);
    reader.cancel().catch(() => {});
  }
  return Buffer.concat(chunks).subarray(0, MAX_BODY_BYTES).toString("utf8");
}

function cut(text: string, bytes: number): string {
  if (Buffer.byteLength(text) <= bytes) {
    return text;
  }
  // A character that is cut in two becomes U+FFFD.
  return Buffer.from(text)
    .subarray(0, bytes)
    .toString("utf8")
    .replace(/\uFFFD+$/, "");
}
