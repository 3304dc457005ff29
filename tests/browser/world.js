// A small world that shows everything a page can show: the numbers of Intercom's own
// picture, a workspace at each of its thresholds, an org in trouble, one at rest.
import assert from "node:assert/strict";
import { makeCalls, read } from "./support.js";

export const ACME = "00D000000000001EAA";
export const ANN = "005000000000001AAA";

export const CONFIG = `
unknown: {orgs: template, workspaces: count, users: count}
template: {daily_calls: 15000, concurrent_calls: 5, reserve_percent: 5}
orgs:
  - id: ${ACME}
    daily_calls: 15000
    execution_users: [${ANN}, 005000000000002AAA]
    workspaces:
      - {id: inbox, daily_calls: 15000}
      - {id: thresholds-40, daily_calls: 100}
      - {id: thresholds-80, daily_calls: 100}
      - {id: thresholds-100, daily_calls: 100}
  - {id: at-rest, daily_calls: 100000}
  - {id: nearly-full, daily_calls: 15000}
  - {id: cooling, daily_calls: 15000}
  - {id: uncapped, daily_calls: 5000, workspaces: [{id: free}]}
  - {id: administered, daily_calls: 8000, execution_users: [${ANN}]}
  - {id: watched, daily_calls: 15000, workspaces: [{id: live, daily_calls: 100}]}
`;

/** Fills it. */
export async function populate(service) {
  // 2,918 of ours, and 3,072 of others.
  await makeCalls(service, ACME, 2_918 - 41 - 81 - 100 - 1, { workspace: "inbox" });
  for (const [workspace, calls] of [
    ["thresholds-40", 41],
    ["thresholds-80", 81],
    ["thresholds-100", 100],
  ]) {
    const ask = { workspace, trafficClass: "TRAFFIC_CLASS_INTERACTIVE" };
    await makeCalls(service, ACME, calls, ask);
  }
  await read(service, ACME, 2_918 + 3_072, 15_000);
  const users = { operation: "conversation-entries.get", executionUser: ANN };
  await service.api("POST", `/orgs/${ACME}:acquire`, { ...users, calls: 60 });
  await makeCalls(service, "nearly-full", 900);
  await read(service, "nearly-full", 14_100, 15_000);
  await service.api("POST", "/orgs/nearly-full:acquire", { operation: "rest", calls: 500 });
  await coolDown(service, "cooling");
  await makeCalls(service, "uncapped", 250, { workspace: "free" });
  await administer(service, "administered");
}

/** Somebody declares, caps, adds, removes and withdraws. */
async function administer(service, org) {
  const path = `/orgs/${org}`;
  const cap = (id, dailyCalls) => [
    "PUT",
    `${path}/workspaces/${id}`,
    { workspace: { id, dailyCalls } },
  ];
  const workspaces = [{ id: "support-emea", dailyCalls: 4_000 }];
  for (const [method, at, body] of [
    ["PUT", path, { org: { id: org, dailyCalls: 12_000, executionUsers: [ANN], workspaces } }],
    cap("support-emea", 6_500),
    cap("warehouse", 1_500),
    ["PUT", `${path}/users/005000000000002AAA`, {}],
    ["DELETE", `${path}/users/005000000000002AAA`],
    ["DELETE", `${path}/workspaces/warehouse`],
  ]) {
    const answer = await service.api(method, at, body);
    assert.equal(answer.status, 200, `${method} ${at}: ${JSON.stringify(answer.body)}`);
  }
}

/** Salesforce says that the org's total is used up. */
async function coolDown(service, org) {
  const { body } = await service.api("POST", `/orgs/${org}:acquire`, { operation: "rest" });
  await service.api("POST", `/permits/${body.permit.permitId}:report`, {
    httpStatus: 403,
    errorCode: "REQUEST_LIMIT_EXCEEDED",
    errorMessage: "TotalRequests Limit exceeded.",
  });
}

/** Every page there is, and what is worth a look of its own. */
export const PAGES = {
  home: "/",
  "home-searched": "/?search=nearly",
  "home-without-a-match": "/?search=nothing-is-called-so",
  org: `/orgs/${ACME}`,
  "org-full": "/orgs/nearly-full",
  "org-cooling": "/orgs/cooling",
  "org-at-rest": "/orgs/at-rest",
  "org-of-the-template": "/orgs/never-heard-of",
  explain: `/orgs/${ACME}/explain`,
  "what-if": `/orgs/${ACME}/what-if`,
  "org-settings": `/orgs/${ACME}/settings`,
  "org-without-changes": `/orgs/${ACME}/changes`,
  "org-changes": "/orgs/administered/changes",
  "workspace-settings": "/orgs/administered/settings/workspace?id=support-emea",
  settings: "/settings",
  changes: "/changes",
  cluster: "/cluster",
};
