// Writes src/generated from the service's own sources: the types and the
// descriptor of quota.proto, and the service config. With --check it writes
// nothing and fails if what is committed differs.
//
// The descriptor is embedded as a module, so that the package reads no file at
// run time and survives a bundler.
import { execFileSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

// protobufjs is what @grpc/proto-loader itself parses with: its version is theirs.
const protobuf = createRequire(createRequire(import.meta.url).resolve("@grpc/proto-loader"))(
  "protobufjs",
);

const project = dirname(dirname(fileURLToPath(import.meta.url)));
const protoDir = join(project, "../../proto");
const committed = join(project, "src/generated");
const header = "// Written by scripts/generate.mjs. Do not edit.\n";

const fresh = mkdtempSync(join(tmpdir(), "quotagate-generate-"));
try {
  generate(fresh);
  if (process.argv.includes("--check")) {
    const stale = differences(fresh, committed);
    if (stale.length > 0) {
      console.error(`src/generated is stale, run \`npm run generate\`: ${stale.join(", ")}`);
      process.exitCode = 1;
    }
  } else {
    rmSync(committed, { recursive: true, force: true });
    cpSync(fresh, committed, { recursive: true });
  }
} finally {
  rmSync(fresh, { recursive: true, force: true });
}

function generate(out) {
  execFileSync(
    join(project, "node_modules/.bin/proto-loader-gen-types"),
    [
      "--longs=Number",
      "--enums=String",
      "--defaults",
      "--oneofs",
      "--importFileExtension=.js",
      "--grpcLib=@grpc/grpc-js",
      `--includeDirs=${protoDir}`,
      `--outDir=${out}`,
      "quotagate/v1/quota.proto",
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  for (const file of filesOf(out)) {
    const path = join(out, file);
    const text = readFileSync(path, "utf8").replace(/^\/\/ Original file:.*\n/, header);
    writeFileSync(path, text.startsWith(header) ? text : header + text);
  }

  const root = new protobuf.Root();
  root.resolvePath = (_origin, target) => {
    const path = join(protoDir, target);
    return existsSync(path) ? path : target;
  };
  root.loadSync("quotagate/v1/quota.proto");
  const json = root.resolveAll().toJSON({ keepComments: false });
  json.nested.google.nested.rpc = errorDetails();
  writeModule(join(out, "descriptor.ts"), "descriptor", json);

  const config = JSON.parse(readFileSync(join(project, "../service_config.json"), "utf8"));
  writeModule(join(out, "service-config.ts"), "serviceConfig", config);
}

/** The messages of google.rpc that stand in `grpc-status-details-bin`. */
function errorDetails() {
  const { root } = protobuf.parse(`
    syntax = "proto3";
    package google.rpc;
    message Status { int32 code = 1; string message = 2; repeated Detail details = 3; }
    // The wire form of google.protobuf.Any.
    message Detail { string type_url = 1; bytes value = 2; }
    message BadRequest {
      message FieldViolation { string field = 1; string description = 2; }
      repeated FieldViolation field_violations = 1;
    }
    message ErrorInfo { string reason = 1; string domain = 2; }
    message RetryInfo { google.protobuf.Duration retry_delay = 1; }
  `);
  return root.toJSON().nested.google.nested.rpc;
}

function writeModule(path, name, value) {
  writeFileSync(
    path,
    `${header}export const ${name}: unknown = ${JSON.stringify(value, null, 2)};\n`,
  );
}

function filesOf(directory) {
  return readdirSync(directory, { recursive: true })
    .map(String)
    .filter((file) => file.endsWith(".ts"))
    .sort();
}

function differences(expected, actual) {
  const names = new Set([...filesOf(expected), ...(existsSync(actual) ? filesOf(actual) : [])]);
  const read = (path) => (existsSync(path) ? readFileSync(path, "utf8") : undefined);
  return [...names].filter((name) => read(join(expected, name)) !== read(join(actual, name)));
}
