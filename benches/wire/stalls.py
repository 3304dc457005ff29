#!/usr/bin/env python3
"""Looks for stalls: minutes of steady load, while things happen to the server.

A bare tonic server, quotagate on an embedded store, and a cluster of two nodes with an
etcd are asked at the same moderate rate at the same time, open-loop: a latency counts
from when its request was due. In turn nothing happens, the configuration is read again
with other limits, and the cluster's second node stops and comes again, so that shards
change hands twice. All the while permits expire, blocks are fetched, snapshots are
written and idle memory is freed. What stalls the echo, too, is the machine's doing.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import report
import servers as known
from one_call import Failed
from servers import OPERATION, ORGS, PERMIT_NANOS, USER, WORKSPACE, own_environment

# A stall is longer than this, in microseconds.
STALL = 50_000
# What happens, in turn, each in the middle of such a time.
EVENTS = ("nothing", "configuration read again", "a node stops", "it comes again")
EVENT_SECONDS = 30
WARM_UP = 5


def main():
    options = parser().parse_args()
    if not known.find_etcd():
        sys.exit("SKIPPED: there is no etcd (./x tools, or Debian's package etcd-server)")
    with tempfile.TemporaryDirectory(prefix="stalls-") as work:
        folder = pathlib.Path(work)
        one, cluster = (known.quotagate(options.quotagate, store) for store in ("file:", "etcd:"))
        asked = [known.echo(options.echo), one, cluster]
        second = Second(options.quotagate, cluster, folder)
        try:
            for server in asked:
                server.start(folder)
            second.start()
            # Each org's first call waits for its block.
            for process in [client(options.quotagate, server, options.rate, WARM_UP) for server in asked]:
                process.communicate(timeout=60)
            samples = [
                sample
                for turn in range(max(1, round(options.minutes * 60 / EVENT_SECONDS / len(EVENTS))))
                for sample in events(options, asked, second, turn)
            ]
        finally:
            second.stop()
            for server in asked:
                if hasattr(server, "processes"):
                    server.stop()
    print(table(samples, options.rate))


def parser():
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--quotagate", required=True, metavar="PROGRAM", help="the program")
    found.add_argument("--echo", required=True, metavar="PROGRAM", help="benches/echo.rs, built by the same command")
    found.add_argument("--minutes", type=float, default=10, help="how long (10)")
    found.add_argument("--rate", type=int, default=500, help="requests a second, of each server (500)")
    return found


class Second:
    """The cluster's second node."""

    def __init__(self, program, first, folder):
        self.program, self.first, self.folder, self.process = program, first, folder, None

    def start(self):
        etcd = self.first.ports[3]
        ports = [known.free_port() for _ in range(3)]
        grpc, http, peer = (f"127.0.0.1:{port}" for port in ports)
        log = (self.folder / "second.log").open("a")
        self.process = subprocess.Popen(
            ["taskset", "-c", self.first.cores, self.program, "serve", "--node", "second",
             "--config", str(self.first.folder / "wire.yaml"), "--grpc", grpc, "--http", http, "--peer", peer,
             "--store", f"etcd://127.0.0.1:{etcd}/wire"],
            stdout=log, stderr=log, env=own_environment(),
        )  # fmt: skip
        known.wait_for(ports[0])

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(60)
            self.process = None


def events(options, asked, second, turn):
    """One sample for each event and server."""
    for event in EVENTS:
        clients = [client(options.quotagate, server, options.rate, EVENT_SECONDS) for server in asked]
        time.sleep(EVENT_SECONDS / 3)
        if event == "configuration read again":
            for server in asked[1:]:
                read_again(server.folder / "wire.yaml", turn)
        elif event == "a node stops":
            second.stop()
        elif event == "it comes again":
            second.start()
        for server, process in zip(asked, clients):
            said, complaint = process.communicate(timeout=EVENT_SECONDS + 60)
            if not said:
                raise Failed(f"{server.name}: {complaint}")
            sample = of(json.loads(said)) | {"event": event, "server": server.name}
            print("  ".join(f"{name} {value}" for name, value in sample.items()), flush=True)
            yield sample


def client(program, server, rate, seconds):
    return subprocess.Popen(
        ["taskset", "-c", "1", program, "bench", "--server", f"127.0.0.1:{server.port}", "--org", "bench",
         "--orgs", str(ORGS // 2), "--operation", OPERATION, "--workspace", WORKSPACE, "--execution-user", USER,
         "--permit-ttl", f"{PERMIT_NANOS // 1_000_000}ms", "--connections", "2", "--rate", str(rate),
         "--duration", f"{seconds}s", "-o", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=own_environment(),
    )  # fmt: skip


def read_again(path, turn):
    """Other limits for every org; the file appears whole."""
    most = 100_000_000 - turn % 2
    new = path.with_suffix(".new")
    new.write_text(re.sub(r"daily_calls: (100000000|99999999)\b", f"daily_calls: {most}", path.read_text()))
    new.rename(path)


def of(said):
    if said["denied"] or said["errors"] or said["unsent"]:
        raise Failed(f"{said['denied']} denied, {said['errors']} errors, {said['unsent']} unsent: {said['errorTexts']}")
    latency = said["grantedLatencyMicros"]
    stalled = sum(step["decisions"] for step in said["latencyHistogram"] if step["withinMicros"] > STALL)
    return {"granted": said["granted"], "p50": latency["p50"], "p99": latency["p99"], "max": latency["max"],
            "stalled": stalled}  # fmt: skip


def table(samples, rate):
    """By event and server: the longest of all turns, and what took longer than a stall."""
    rows = []
    for event in EVENTS:
        for server in dict.fromkeys(sample["server"] for sample in samples):
            mine = [one for one in samples if (one["event"], one["server"]) == (event, server)]
            rows.append([
                event, server, f"{sum(one['granted'] for one in mine):,}",
                f"{report.median([one['p50'] for one in mine]):,.0f}",
                f"{report.median([one['p99'] for one in mine]):,.0f}",
                f"{max(one['max'] for one in mine) / 1000:,.1f}", f"{sum(one['stalled'] for one in mine):,}",
            ])  # fmt: skip
    head = ["what happens", "server", "granted", "p50, µs", "p99, µs", "longest, ms", "longer than 50 ms"]
    minutes = len(samples) / len({one["server"] for one in samples}) * EVENT_SECONDS / 60
    return f"{minutes:.0f} minutes at {rate} a second each:\n\n{report.table(head, rows)}"


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"stalls: {error}")
