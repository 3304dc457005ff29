#!/usr/bin/env python3
"""Drills alerts on a real cluster: drill.py [ALERT…]

Starts etcd, three nodes and a Prometheus with the chart's alerts, all on loopback. With
nothing wrong no alert may fire. Then each fault is done for real, a clock that is off, a
node that stands still, an etcd that is slow or away, an org that is nearly used up, one without
readings, and the alert that is for it must fire; and be quiet again where the fault can
be mended. Alerts wait for minutes so that nobody is woken for nothing: here for seconds.

Needs quotagate (QUOTAGATE_BIN), and prometheus and etcd, which are looked for in
../../.tools/packaged and on the PATH. It ends what it has started.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request

from dashboard import NODES, ROOT, find, free_port, post, run, wait_for

ALERTS = ROOT / "helm" / "quotagate" / "files" / "alerts.yaml"
# Nobody waits for the day's 24 hours, nor for ten minutes without a reading.
SHORTER = [
    (r"for: \d+m", "for: 3s"),
    (r"\[(5|10)m\]", "[20s]"),
    (r"(reading_age_seconds\)) > 600", r"\1 > 15"),
    (r"(session_left_seconds)\[1m\]", r"\1[5s]"),
]
CONFIG = """
orgs:
  - {id: narrow, daily_calls: 200}
  - {id: unread, daily_calls: 100000}
"""
PATIENCE = 90
# Rates look back so far: what was while all began is no fault.
QUIET = 25

passed, failed = 0, []


def main():
    wanted = sys.argv[1:]
    quotagate = os.environ.get("QUOTAGATE_BIN") or shutil.which("quotagate")
    programs = {"quotagate": quotagate, "etcd": find("etcd"), "prometheus": find("prometheus")}
    missing = [name for name, path in programs.items() if not path]
    if missing:
        kind = "FAILED" if os.environ.get("CI") == "true" else "SKIPPED"
        print(f"{kind}: drills on a real cluster: there is no {' or '.join(missing)}")
        print("0 passed, 1 failed, 0 skipped" if kind == "FAILED" else "0 passed, 0 failed, 1 skipped")
        sys.exit(kind == "FAILED")
    with contextlib.ExitStack() as stack:
        world = World(stack, programs)
        time.sleep(QUIET)
        check("no alert fires where nothing is wrong", " ".join(world.firing()))
        drills = {name.removeprefix("drill_"): drill for name, drill in globals().items() if name.startswith("drill_")}
        for alert, drill in drills.items():
            if not wanted or alert in wanted:
                drill(world, alert)
    print(f"{passed} passed, {len(failed)} failed, 0 skipped")
    sys.exit(bool(failed))


class World:
    """Everything, when it is ready."""

    def __init__(self, stack, programs):
        self.work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        client, raft, prometheus = free_port(), free_port(), free_port()
        self.prometheus = f"http://127.0.0.1:{prometheus}"
        self.etcd = run(
            stack, self.work, "etcd", programs["etcd"], f"--data-dir={self.work}/etcd-data",
            f"--listen-client-urls=http://127.0.0.1:{client}", f"--advertise-client-urls=http://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{raft}", f"--initial-advertise-peer-urls=http://127.0.0.1:{raft}",
            f"--initial-cluster=default=http://127.0.0.1:{raft}",
        )  # fmt: skip
        (self.work / "quotagate.yaml").write_text(CONFIG)
        self.http, self.nodes = [free_port() for _ in range(NODES)], []
        for node, http in enumerate(self.http):
            self.sets_clock(node, 0)
            self.nodes.append(run(
                stack, self.work, f"quotagate-{node}", programs["quotagate"], "serve", f"--node=quotagate-{node}",
                "--grpc=127.0.0.1:0", f"--http=127.0.0.1:{http}", "--peer=127.0.0.1:0",
                f"--store=etcd://127.0.0.1:{client}/quotagate", f"--config={self.work}/quotagate.yaml", "--create-cluster",
                # A node that stands still stays a node for so long.
                "--lease=1m", f"--test-clock-offset={self.work}/clock-{node}",
            ))  # fmt: skip
        targets = [
            {"targets": [f"127.0.0.1:{http}"], "labels": {"namespace": "quota", "pod": f"quotagate-{node}"}}
            for node, http in enumerate(self.http)
        ]
        alerts = ALERTS.read_text()
        for pattern, shorter in SHORTER:
            alerts, count = re.subn(pattern, shorter, alerts)
            assert count, f"no alert has {pattern}"
        (self.work / "alerts.yaml").write_text(alerts)
        (self.work / "prometheus.yml").write_text(json.dumps({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [f"{self.work}/alerts.yaml"],
            "scrape_configs": [{"job_name": "quotagate", "static_configs": targets}],
        }))  # fmt: skip
        run(
            stack, self.work, "prometheus", programs["prometheus"], f"--config.file={self.work}/prometheus.yml",
            f"--storage.tsdb.path={self.work}/tsdb", f"--web.listen-address=127.0.0.1:{prometheus}",
        )  # fmt: skip
        for http in self.http:
            wait_for(f"http://127.0.0.1:{http}/readyz", self.work)
        wait_for(f"{self.prometheus}/-/ready", self.work)

    def sets_clock(self, node, ms):
        (self.work / f"clock-{node}").write_text(str(ms))

    def acquire(self, org, node=0, calls=1):
        ask = {"operation": "rest", "calls": calls, "trafficClass": "TRAFFIC_CLASS_INTERACTIVE"}
        return post(f"http://127.0.0.1:{self.http[node]}/api/v1/orgs/{org}:acquire", ask).get("permit")

    def firing(self):
        with urllib.request.urlopen(f"{self.prometheus}/api/v1/alerts", timeout=5) as answer:
            alerts = json.load(answer)["data"]["alerts"]
        return sorted({alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"})

    def waits_until(self, alert, fires):
        """Says what is wrong if it does not come about."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if (alert in self.firing()) == fires:
                return None
            time.sleep(0.5)
        return f"firing after {PATIENCE} s: {' '.join(self.firing()) or 'none'}"


@contextlib.contextmanager
def meanwhile(work):
    """Does something again and again, until the block is left."""
    ended = threading.Event()

    def repeat():
        while not ended.is_set():
            work()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def drill_QuotagateClocksApart(world, alert):
    world.sets_clock(2, 1_300)
    check(f"{alert} fires when a node's clock is 1.3 s ahead", world.waits_until(alert, True))
    world.sets_clock(2, 0)
    check(f"{alert} is quiet when it is right again", world.waits_until(alert, False))


def drill_QuotagatePeersSilent(world, alert):
    world.nodes[1].send_signal(signal.SIGSTOP)
    fault = world.waits_until(alert, True)
    world.nodes[1].send_signal(signal.SIGCONT)
    check(f"{alert} fires when a node stands still", fault)
    check(f"{alert} is quiet when it goes on", world.waits_until(alert, False))


def drill_QuotagateOrgNearLimit(world, alert):
    for _ in range(9):
        world.acquire("narrow", calls=19)
    check(f"{alert} fires when 171 of an org's 200 calls are taken", world.waits_until(alert, True))


def drill_QuotagateReadingStale(world, alert):
    permit = world.acquire("unread")
    address = urllib.parse.quote(permit["permitId"], safe="")
    post(f"http://127.0.0.1:{world.http[0]}/api/v1/permits/{address}:report", {"httpStatus": 200, "limitInfo": ["api-usage=50/100000"]})

    def call():
        world.acquire("unread")
        time.sleep(0.5)

    with meanwhile(call):
        check(f"{alert} fires when an org is used and nobody reports what Salesforce says", world.waits_until(alert, True))
    check(f"{alert} is quiet when it is used no more", world.waits_until(alert, False))


def drill_QuotagateDecisionsSlow(world, alert):
    number = iter(range(1_000_000))

    def call():
        # An org that nobody has asked for waits for the store.
        world.acquire(f"new-{next(number)}", node=next(number) % NODES)

    def stumble():
        world.etcd.send_signal(signal.SIGSTOP)
        time.sleep(0.7)
        world.etcd.send_signal(signal.SIGCONT)
        time.sleep(0.3)

    with meanwhile(call), meanwhile(call), meanwhile(stumble):
        check(f"{alert} fires when etcd stumbles", world.waits_until(alert, True))
    check(f"{alert} is quiet when it does not", world.waits_until(alert, False))


def drill_QuotagateSessionLost(world, alert):
    world.etcd.send_signal(signal.SIGSTOP)
    fault = world.waits_until(alert, True)
    alive = [http for http in world.http if answers(f"http://127.0.0.1:{http}/livez")]
    ready = [http for http in world.http if answers(f"http://127.0.0.1:{http}/readyz")]
    world.etcd.send_signal(signal.SIGCONT)
    check(f"{alert} fires when etcd is away", fault)
    check("a node that has merely lost etcd is alive, and not ready", (len(alive), len(ready)) != (NODES, 0) and f"alive {alive}, ready {ready}")
    check(f"{alert} is quiet when etcd is back", world.waits_until(alert, False))


def answers(address):
    with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as answer:
        return answer.status == 200
    return False


def check(name, fault):
    global passed
    if fault:
        failed.append(name)
        print(f"FAILED: {name}: {fault}", flush=True)
    else:
        passed += 1
        print(f"ok: {name}", flush=True)


if __name__ == "__main__":
    main()
