#!/usr/bin/env python3
"""Counts what metrics and traces cost: benches/overhead.py [--quotagate P --overhead P]

First the instructions, by valgrind, of what benches/overhead.rs does: each is the
difference of two runs, one with more iterations, so that the start falls out. Then the CPU
time of an Acquire on the wire (three limits, memory:), with traces off, and on at a
sampling of 0, 1 % and 100 %, for a collector that takes none of them: h2load asks the four
servers in turn, and a ratio is the median of the rounds' own ratios.

Builds both programs with the profile `bench`, or takes those that are named. Needs
valgrind and h2load. It ends what it has started.
"""

import argparse
import contextlib
import json
import pathlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benches" / "wire"))

from one_call import framed  # noqa: E402
from servers import ACQUIRE, CONFIG, acquire, free_port  # noqa: E402

SUBJECTS = {"service": (1000, 5000), "metrics": (1000, 5000), "traces": (1000, 5000)}
SCRAPES = {f"scrape-{orgs}": (2, 12) for orgs in (0, 20, 1000, 10000)}
REQUESTS, ROUNDS = 40_000, 9
TICK = os.sysconf("SC_CLK_TCK")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for program in ("quotagate", "overhead"):
        parser.add_argument(f"--{program}", metavar="PROGRAM")
    options = parser.parse_args()
    built = vars(options) if options.quotagate and options.overhead else build()
    for subject, (few, many) in {**SUBJECTS, **SCRAPES}.items():
        counts = [alone(built["overhead"], subject, times) for times in (few, many)]
        print(f"{subject:14} {round((counts[1] - counts[0]) / (many - few)):12,}", flush=True)
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (work / "wire.yaml").write_text(CONFIG)
        (work / "body").write_bytes(framed(acquire("overhead", 1)))
        collector = serve(stack, built["quotagate"], work, [])
        to = f"--otlp-endpoint=http://127.0.0.1:{collector.port}"
        servers = {
            "off": serve(stack, built["quotagate"], work, []),
            "0": serve(stack, built["quotagate"], work, [to, "--trace-sample=0"]),
            "1 %": serve(stack, built["quotagate"], work, [to, "--trace-sample=0.01"]),
            "100 %": serve(stack, built["quotagate"], work, [to, "--trace-sample=1"]),
        }
        for server in servers.values():
            load(server, work)
        rounds = [{name: load(server, work) for name, server in servers.items()} for _ in range(ROUNDS)]
    for name in servers:
        micros = statistics.median(one[name] for one in rounds)
        ratio = statistics.median(one[name] / one["off"] for one in rounds)
        print(f"an Acquire with traces {name:6} {micros:6.1f} µs of CPU, {ratio:.2f} of that with none")


def build():
    command = ["cargo", "build", "--locked", "--profile", "bench", "--bin", "quotagate", "--bench", "overhead"]
    ran = subprocess.run([*command, "--message-format=json-render-diagnostics"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    made = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    return {one["target"]["name"]: one["executable"] for one in made if one.get("executable")}


def alone(program, subject, times):
    """The instructions of a run."""
    with tempfile.TemporaryDirectory() as work:
        out = pathlib.Path(work) / "counts"
        grind = ["valgrind", "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={out}"]
        ran = subprocess.run([*grind, program, subject, str(times)], capture_output=True, text=True)
        found = re.search(r"^summary: (\d+)", out.read_text(), re.MULTILINE) if out.exists() else None
        if ran.returncode or not found:
            sys.exit(ran.stderr[-2000:])
        return int(found[1])


def serve(stack, program, work, more):
    """A server that is ready, and ends with the stack."""
    port, http = free_port(), free_port()
    command = [
        program, "serve", f"--config={work}/wire.yaml", "--store=memory:", f"--grpc=127.0.0.1:{port}",
        f"--http=127.0.0.1:{http}", "--log=error", *more,
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    stack.callback(lambda: (process.terminate(), process.wait()))
    process.port = port
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{http}/readyz", timeout=5):
            return process
        time.sleep(0.1)
    sys.exit("the server is not ready")


def load(server, work):
    """The CPU time of a request, in microseconds."""
    before = cpu_seconds(server.pid)
    asked = [
        "h2load", "-n", str(REQUESTS), "-c", "4", "-m", "16", "-d", f"{work}/body", "-H", "content-type: application/grpc",
        "-H", "te: trailers", f"http://127.0.0.1:{server.port}{ACQUIRE}",
    ]  # fmt: skip
    said = subprocess.run(asked, capture_output=True, text=True, timeout=300, check=True).stdout
    if f"{REQUESTS} succeeded" not in said:
        sys.exit(said)
    return (cpu_seconds(server.pid) - before) * 1e6 / REQUESTS


def cpu_seconds(pid):
    """In user and kernel mode."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


if __name__ == "__main__":
    main()
