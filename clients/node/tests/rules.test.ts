import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { defaultRules } from "@quotagate/client";

const HOST = "https://acme.my.salesforce.com";

describe("the default rules take several slashes at the beginning of a path for one", () => {
  const rows: [string, string, string | undefined][] = [
    ["GET", "//services/data/v66.0/limits", "rest"],
    ["GET", "///services/data/v66.0/query/?q=x", "rest"],
    ["DELETE", "//services/data/v66.0/conversations/1", "conversations.delete"],
    ["DELETE", "//conversations/1", "conversations.delete"],
    ["GET", "//services/data", undefined],
    ["POST", "//services/oauth2/token", undefined],
    ["GET", "//", undefined],
  ];
  for (const [method, path, operation] of rows) {
    test(`${method} ${path}`, () => {
      assert.equal(defaultRules({ method, url: HOST + path })?.operation, operation);
    });
  }

  test("and see into a batch", () => {
    const url = `${HOST}//services/data/v66.0/composite/batch`;
    const body = '{"batchRequests":[{},{}]}';
    assert.deepEqual(defaultRules({ method: "POST", url, body }), { operation: "rest", cost: 2 });
  });
});
