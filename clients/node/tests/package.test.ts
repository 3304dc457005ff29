import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { outcome, PROJECT, permitMessage, runModule, startFake, startHttp } from "./support.js";

const read = (path: string) => readFileSync(join(PROJECT, path), "utf8");

test("what is generated is fresh", () => {
  execFileSync(process.execPath, ["scripts/generate.mjs", "--check"], { cwd: PROJECT });
});

test("the example of the README works, and is ten lines", async () => {
  const example = /```js\n([\s\S]*?)```/.exec(read("README.md"))?.[1] ?? "";
  assert.ok(example.trim().split("\n").length <= 10);
  await using fake = await startFake({ acquire: () => permitMessage({ calls: 1 }) });
  await using http = await startHttp((_, response) => response.end('{"DailyApiRequests":{}}'));
  // Within the package, so that it finds itself by its name.
  const path = join(PROJECT, "build/readme-example.mjs");
  // The same, but for a machine that may be busy.
  writeFileSync(path, example.replace('7400")', '7400", { timeoutMs: 20_000 })'));
  try {
    const env = {
      ...process.env,
      QUOTAGATE_SERVER: fake.address,
      INSTANCE_URL: http.url,
      ACCESS_TOKEN: "token",
    };
    const { code, output } = await outcome(runModule("readme-example.mjs", [], { env }), 20_000);
    assert.equal(code, 0, output);
    assert.match(output, /DailyApiRequests/);
  } finally {
    rmSync(path);
  }
  const operations = fake.of("acquire").map(({ operation }) => operation);
  assert.deepEqual(operations, ["rest", "conversations.delete"]);
  assert.equal(fake.of("report").length, 2);
});

test("the package has what it needs and nothing else", () => {
  const packed = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
    cwd: PROJECT,
    stdio: ["ignore", "pipe", "ignore"],
  });
  // An array, or since npm 11 an object by name.
  const [contents] = Object.values(JSON.parse(String(packed))) as [{ files: { path: string }[] }];
  const paths = contents.files.map(({ path }) => path);
  for (const path of ["LICENSE", "README.md", "dist/index.js", "dist/index.d.ts"]) {
    assert.ok(paths.includes(path), `${path} is missing`);
  }
  const others = paths.filter(
    (path) => !/^(LICENSE|README\.md|package\.json|dist\/.*)$/.test(path),
  );
  assert.deepEqual(others, []);
});

test("the license is the project's", () => {
  assert.equal(read("LICENSE"), read("../../LICENSE"));
});

test("the lock file names no registry", () => {
  assert.doesNotMatch(read("package-lock.json"), /https?:\/\/(?!.*fund|.*sponsor)[^"]*\.tgz/);
});
