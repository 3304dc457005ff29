/** What of an HTTP request decides which operation it is. */
export interface HttpRequest {
  readonly method: string;
  readonly url: string;
  /** The body as text, where it is at hand or `wantsBody`. */
  readonly body?: string | undefined;
}

/** What a request is to the service. */
export interface Operation {
  /** The operation of the service's catalogue. */
  readonly operation: string;
  /** Quota units that it takes. Default: 1. */
  readonly cost?: number | undefined;
}

/** Which operation a request is; `undefined`: no call of Salesforce's API, it passes without a permit. */
export type Rules = (request: HttpRequest) => Operation | undefined;

const VERSIONED = /^\/services\/data\/v\d+(?:\.\d+)?\/(.*)$/;
const SOAP = "/services/Soap/";
const MAX_COST = 10_000;

/** The operations of the built-in catalogue, by method, path and, for few, body. */
export const defaultRules: Rules = ({ method, url, body }) => {
  const verb = method.toUpperCase();
  const path = pathOf(url);
  const isService = path.startsWith("/services/");
  const resource = VERSIONED.exec(path)?.[1] ?? (isService ? "" : path.slice(1));
  const collection = resource.replace(/^connect\//, "").split("/")[0];
  switch (`${verb} ${collection}`) {
    case "GET conversation-entries":
      return { operation: "conversation-entries.get", cost: 1 };
    case "DELETE conversation-participants":
      return { operation: "conversation-participants.delete", cost: 1 };
    case "DELETE conversations":
      return { operation: "conversations.delete", cost: 1 };
  }
  if (!isService || path === "/services/data" || path.startsWith("/services/oauth2/")) {
    return undefined;
  }
  if (path.startsWith(SOAP) && body !== undefined && /<(?:[\w.-]+:)?login[\s/>]/.test(body)) {
    return undefined;
  }
  const isBatch = verb === "POST" && resource === "composite/batch";
  return { operation: "rest", cost: isBatch ? requestsIn(body) : 1 };
};

/** Whether the default rules look at the body of requests to this URL. */
export function wantsBody(url: string): boolean {
  const path = pathOf(url);
  return path.startsWith(SOAP) || path.endsWith("/composite/batch");
}

/**
 * The path of an absolute or relative URL, without slashes at its end, and with one
 * at its beginning: several are what is left of joining a host and a path carelessly.
 */
function pathOf(url: string): string {
  try {
    const path = new URL(url, "http://relative.invalid").pathname;
    return path.replace(/\/+$/, "").replace(/^\/+/, "/");
  } catch {
    return "";
  }
}

function requestsIn(body: string | undefined): number {
  try {
    const { batchRequests } = JSON.parse(body ?? "") as { batchRequests?: unknown };
    const count = Array.isArray(batchRequests) ? batchRequests.length : 1;
    return Math.min(Math.max(count, 1), MAX_COST);
  } catch {
    return 1;
  }
}
