#!/usr/bin/env python3
"""Shows the dashboard's queries a real cluster: dashboard.py [--minutes N] [--keep FILE]

Starts etcd, three nodes and a Prometheus that scrapes them, all on loopback; lets
callers ask, wait, be denied and report, at all nodes, and ends one node at once halfway;
and then evaluates each query of the dashboard through Prometheus's API. A panel without a single number fails. --keep
writes the answers down, for picture.py.

Needs quotagate (QUOTAGATE_BIN), and prometheus and etcd, which are looked for in
../../.tools/packaged and on the PATH. It ends what it has started.
"""

import argparse
import contextlib
import json
import math
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DASHBOARD = ROOT / "helm" / "quotagate" / "files" / "dashboard.json"
PACKAGED = ROOT / ".tools" / "packaged"
NODES = 3
SCRAPE_SECONDS = 5
# Small limits, so that some callers are denied and others wait.
CONFIG = """
orgs:
  - {id: roomy, daily_calls: 1000000}
  - {id: narrow, daily_calls: 200}
  - id: shared
    daily_calls: 100000
    execution_users: [alice, bob]
    workspaces:
      - {id: eu, daily_calls: 300}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--keep", type=pathlib.Path, metavar="FILE")
    options = parser.parse_args()
    quotagate = os.environ.get("QUOTAGATE_BIN") or shutil.which("quotagate")
    programs = {"quotagate": quotagate, "etcd": find("etcd"), "prometheus": find("prometheus")}
    missing = [name for name, path in programs.items() if not path]
    if missing:
        kind = "FAILED" if os.environ.get("CI") == "true" else "SKIPPED"
        print(f"{kind}: the dashboard with a real cluster: there is no {' or '.join(missing)}")
        print("0 passed, 1 failed, 0 skipped" if kind == "FAILED" else "0 passed, 0 failed, 1 skipped")
        sys.exit(kind == "FAILED")
    with contextlib.ExitStack() as stack:
        prometheus = start(stack, programs, options.minutes * 60)
        empty, kept = evaluate(prometheus, options.minutes * 60)
    if options.keep:
        options.keep.write_text(json.dumps(kept))
    print(f"{len(kept) - len(empty)} passed, {len(empty)} failed, 0 skipped")
    sys.exit(bool(empty))


def find(name):
    return next((str(path) for path in [PACKAGED / name] if path.exists()), shutil.which(name))


def start(stack, programs, seconds):
    """Everything, until the callers have asked for so long; gives Prometheus's address."""
    work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    grpc, http, peer = ([free_port() for _ in range(NODES)] for _ in range(3))
    client, raft, prom = free_port(), free_port(), free_port()
    run(
        stack, work, "etcd", programs["etcd"], f"--data-dir={work}/etcd-data",
        f"--listen-client-urls=http://127.0.0.1:{client}", f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{raft}", f"--initial-advertise-peer-urls=http://127.0.0.1:{raft}",
        f"--initial-cluster=default=http://127.0.0.1:{raft}",
    )  # fmt: skip
    (work / "quotagate.yaml").write_text(CONFIG)

    def start_node(node):
        return run(
            stack, work, f"quotagate-{node}", programs["quotagate"], "serve", f"--node=quotagate-{node}",
            f"--grpc=127.0.0.1:{grpc[node]}", f"--http=127.0.0.1:{http[node]}", f"--peer=127.0.0.1:{peer[node]}",
            f"--store=etcd://127.0.0.1:{client}/quotagate", f"--config={work}/quotagate.yaml", "--create-cluster",
        )  # fmt: skip

    nodes = [start_node(node) for node in range(NODES)]
    targets = [
        {"targets": [f"127.0.0.1:{http[node]}"], "labels": {"namespace": "quota", "pod": f"quotagate-{node}"}}
        for node in range(NODES)
    ]
    scrape = {"job_name": "quotagate", "scrape_interval": f"{SCRAPE_SECONDS}s", "static_configs": targets}
    # JSON is YAML, too.
    (work / "prometheus.yml").write_text(json.dumps({"scrape_configs": [scrape]}))
    run(
        stack, work, "prometheus", programs["prometheus"], f"--config.file={work}/prometheus.yml",
        f"--storage.tsdb.path={work}/tsdb", f"--web.listen-address=127.0.0.1:{prom}",
    )  # fmt: skip
    for port in http:
        wait_for(f"http://127.0.0.1:{port}/readyz", work)
    wait_for(f"http://127.0.0.1:{prom}/-/ready", work)

    def replace_last():
        """What it had set aside is lost, and the others take its shards."""
        nodes[-1].kill()
        nodes[-1].wait()
        start_node(NODES - 1)

    halfway = threading.Timer(seconds / 2, replace_last)
    halfway.start()
    load(stack, work, programs["quotagate"], grpc, http, seconds)
    halfway.join()
    return f"http://127.0.0.1:{prom}"


def run(stack, work, name, *command):
    """A process that ends with the stack."""
    log = stack.enter_context((work / f"{name}.log").open("w"))
    process = subprocess.Popen([str(part) for part in command], stdout=log, stderr=log, cwd=work)

    def end():
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    stack.callback(end)
    return process


def load(stack, work, quotagate, grpc, http, seconds):
    """Callers at every node: many that are granted, some that are denied, that wait, that
    hear of Salesforce that it refuses."""
    servers = ",".join(f"127.0.0.1:{port}" for port in grpc)
    for org, more in (("roomy", ["--release"]), ("narrow", [])):
        run(
            stack, work, f"bench-{org}", quotagate, "bench", f"--server={servers}", f"--org={org}",
            "--concurrency=2", f"--duration={math.ceil(seconds)}s", *more,
        )  # fmt: skip
    until = time.monotonic() + seconds
    callers = [
        threading.Thread(target=call, args=(f"http://127.0.0.1:{port}", user, traffic, until))
        for port in http
        for user, traffic in (("alice", "INTERACTIVE"), ("bob", "BULK"))
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()


def call(base, user, traffic, until):
    """Asks, waits up to 3 s for room, and reports: one call in 50 was throttled, and one in
    10 tells what the org has used, by others above all."""
    number, since = 0, time.monotonic()
    while time.monotonic() < until:
        number += 1
        ask = {
            "workspace": "eu" if number % 3 == 0 else "",
            # Of the org's 24 hours, which Salesforce tells of; the other costs its user alone.
            "operation": "rest" if number % 10 == 0 else "conversation-entries.get",
            "executionUser": user,
            "trafficClass": f"TRAFFIC_CLASS_{traffic}",
            "maxWait": "3s",
        }
        permit = post(f"{base}/api/v1/orgs/shared:acquire", ask).get("permit")
        if number % 10 == 0:
            # An org that nobody has asked for waits for the store, once.
            post(f"{base}/api/v1/orgs/{user}-{number}:acquire", {"operation": "rest"})
        if permit:
            answer = {"httpStatus": 429 if number % 50 == 0 else 200}
            if number % 50 == 0:
                answer |= {"errorCode": "REQUEST_LIMIT_EXCEEDED", "retryAfter": "2s"}
            if number % 10 == 0:
                answer |= {"limitInfo": [f"api-usage={70_000 + int(100 * (time.monotonic() - since))}/100000"]}
            address = urllib.parse.quote(permit["permitId"], safe="")
            post(f"{base}/api/v1/permits/{address}:report", answer)
        time.sleep(0.1)


def post(address, message):
    request = urllib.request.Request(address, json.dumps(message).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as refused:
        # A denial is an answer.
        return json.loads(refused.read() or b"{}") if refused.code == 429 else {}
    except OSError:
        # The node has ended, and will come back.
        time.sleep(1)
        return {}


def evaluate(prometheus, seconds):
    """Each panel's queries as Grafana would send them; gives the panels without a number,
    and all answers."""
    empty, kept = [], []
    now = time.time()
    spans = {"$__rate_interval": f"{4 * SCRAPE_SECONDS}s", "$__range": f"{math.ceil(seconds)}s"}
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        if panel["type"] == "row":
            continue
        series = []
        for target in panel["targets"]:
            query = re.sub(r"\$(namespace|pod)\b", ".*", target["expr"])
            for name, span in spans.items():
                query = query.replace(name, span)
            if target.get("instant"):
                found = ask(f"{prometheus}/api/v1/query", query=query, time=now)
                for entry in found:
                    entry["values"] = [entry.pop("value")]
            else:
                found = ask(f"{prometheus}/api/v1/query_range", query=query, start=now - seconds, end=now, step=SCRAPE_SECONDS)
            series += [entry | {"legend": target["legendFormat"]} for entry in found]
        numbers = [float(value) for entry in series for _, value in entry["values"]]
        is_empty = not any(math.isfinite(number) for number in numbers)
        moved = any(math.isfinite(number) and number != 0 for number in numbers)
        what = f"{panel['title']} ({panel['type']}): {len(series)} series, {len(numbers)} numbers" + ("" if moved else ", all 0")
        print(f"{'FAILED: nothing in' if is_empty else 'ok:'} {what}")
        empty += [panel["title"]] if is_empty else []
        kept.append({"panel": panel, "series": series})
    return empty, kept


def ask(address, **parameters):
    try:
        with urllib.request.urlopen(f"{address}?{urllib.parse.urlencode(parameters)}", timeout=30) as answer:
            return json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as fault:
        print(f"{parameters['query']}: {fault.read().decode()}")
        return []


def wait_for(address, work):
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    logs = "\n".join(f"{log.name}:\n{log.read_text()[-1000:]}" for log in work.glob("*.log"))
    sys.exit(f"{address} is not ready after 60 s\n{logs}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
