#!/usr/bin/env python3
"""Measures quotagate on the wire, beside a bare tonic server and other limiters.

In each round every measurement is made of every server in turn, so that what slows the
machine for a while slows all of them; ratios are those of the same round. The server and
what it needs are pinned to core 0, the load to core 1. It is checked that what is
measured are decisions: each server grants and refuses before and after, quotagate's own
counts are compared with h2load's, and our own client looks at every answer.

Full runs write the section "On the wire" of docs/performance.md, and its chart; all
samples go to target/wire/samples.json.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tempfile
import time

import report
import servers as known
from load import h2load, own_client
from one_call import Failed
from servers import ROOT

DOCUMENT = ROOT / "docs" / "performance.md"
CHART = ROOT / "docs" / "performance" / "wire.svg"
SAMPLES = ROOT / "target" / "wire" / "samples.json"
# What a measurement takes besides its load: a moment of the same before it, above all.
OVERHEAD_SECONDS = 0.7
# Permits of 100 calls use up an org's day otherwise.
BATCH_SECONDS = 2


def main():
    options = parser().parse_args()
    for tool, package in (("h2load", "nghttp2-client"), ("taskset", "util-linux")):
        if not shutil.which(tool):
            print(f"SKIPPED: there is no {tool}: it is in Debian's package {package}")
            sys.exit(1)
    if len(os.sched_getaffinity(0)) < 2:
        print("SKIPPED: the server and the load need a core each, and there is one")
        sys.exit(1)
    if options.peers:
        subprocess.run([ROOT / "benches" / "wire" / "peers.sh"], check=False)
    given = {"quotagate": options.quotagate, "echo": options.echo}
    given = {name: str(pathlib.Path(path).resolve()) for name, path in given.items() if path}
    programs = given if len(given) == 2 else build(options.profile) | given
    same_allocator(programs)
    servers, skipped = known.all_servers(programs)
    if options.only:
        servers = [one for one in servers if any(word in one.name for word in ["echo", *options.only])]
    two = [known.echo(programs["echo"], "0,1"), known.quotagate(programs["quotagate"], "memory:", "0,1")]
    rounds, seconds = (1, 1) if options.quick else (options.rounds, options.seconds)
    load_before = os.getloadavg()[0]
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wire-")))
        running = start(stack, work, servers + two, skipped)
        servers, two = ([one for one in group if one in running] for group in (servers, two))
        samples = measure(plan(servers, two, programs["quotagate"], work, seconds), rounds)
        for server in running:
            server.check()
        waits = {server.name: server.waits() for server in servers if server.counts}
    SAMPLES.parent.mkdir(parents=True, exist_ok=True)
    SAMPLES.write_text(json.dumps(samples, indent=1))
    for line in skipped:
        print(f"SKIPPED: {line}")
    results = report.Results(samples)
    text = report.markdown(results, servers, facts(options, rounds, seconds, load_before), skipped, waits)
    print(f"\n{text}")
    failed = sum(one is None for kind in samples.values() for rounds in kind.values() for one in rounds)
    if failed:
        sys.exit(f"{failed} measurements failed, so nothing is written to docs/")
    if options.quick or options.only or options.profile != "release" or given:
        print("nothing is written to docs/: that is for full runs")
        return
    CHART.parent.mkdir(parents=True, exist_ok=True)
    CHART.write_text(report.svg(results, servers))
    shown = f"![Speed on the wire](performance/{CHART.name})\n\n{text}"
    DOCUMENT.write_text(report.put_between(DOCUMENT.read_text(), shown))
    print(f"written: {DOCUMENT.relative_to(ROOT)} and {CHART.relative_to(ROOT)}")


def parser():
    found = argparse.ArgumentParser(
        prog="./x bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--peers", action="store_true", help="build other limiters first: some minutes, once")
    found.add_argument("--rounds", type=int, default=5, help="rounds (5)")
    found.add_argument("--seconds", type=int, default=3, help="length of a measurement (3)")
    found.add_argument("--quick", action="store_true", help="one round of a second each, to see that it works")
    found.add_argument("--only", nargs="+", metavar="SERVER", help="these servers, besides the echo")
    found.add_argument("--profile", default="release", help="cargo's profile for quotagate and the echo (release)")
    for program in ("quotagate", "echo"):
        found.add_argument(f"--{program}", metavar="PROGRAM", help=f"this {program}, instead of building it")
    return found


def build(profile):
    """The program and the echo by one command: the same compiler, flags and crates."""
    command = ["cargo", "build", "--locked", "--profile", profile, "--bin", "quotagate", "--bench", "echo"]
    ran = subprocess.run(
        [*command, "--message-format=json-render-diagnostics"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    if ran.returncode != 0:
        sys.exit(ran.returncode)
    made = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("{")]
    return {one["target"]["name"]: one["executable"] for one in made if one.get("executable")}


def same_allocator(programs):
    """A ratio to the echo says nothing about serving where their allocators differ."""
    named = {name: b"mimalloc" in pathlib.Path(path).read_bytes() for name, path in programs.items()}
    if len(set(named.values())) > 1:
        raise Failed("quotagate and the echo have different allocators: give benches/echo.rs the program's")


def start(stack, work, servers, skipped):
    """Those that start and decide; what does not is said, and left out."""
    running = []
    for server in servers:
        stack.callback(lambda server=server: server.stop() if hasattr(server, "processes") else None)
        try:
            server.start(work)
            server.check()
            running.append(server)
        except (Failed, OSError) as error:
            if server.ours:
                raise
            skipped.append(f"{server.name}: {error}")
    for server in running:
        if server.counts:
            limits = known.limits_of(server.ask(server.next_org()))
            if limits != 3:
                raise Failed(f"{server.name} charges {limits} limits, not three")
    return running


def plan(servers, two, program, work, seconds):
    """What is measured in a round, in order: a kind, a server, a duration, and how."""
    # Of the samples of this round: half of what it answered our own client.
    latest = {}

    def own(server):
        latest[server.name] = own_client(program, server, "1", seconds)
        return latest[server.name]

    def half(server):
        if server.name not in latest:
            raise Failed("nothing to take half of")
        return own_client(program, server, "1", seconds, max(1, latest[server.name]["rate"] // 2))

    batch = min(seconds, BATCH_SECONDS)
    ours = [server for server in servers if server.ours]
    counting = [server for server in servers if server.counts]
    shared = [server for server in servers if server.name in {"tonic echo", "quotagate memory:"}]
    steps = [("full", server, seconds, lambda s: h2load(s, "1", work, seconds, 8, 32)) for server in servers]
    steps += [("single", server, seconds, lambda s: h2load(s, "1", work, seconds, 1, 1)) for server in servers]
    steps += [("eight", server, seconds, lambda s: h2load(s, "1", work, seconds, 8, 1)) for server in ours]
    steps += [("batch", server, batch, lambda s: h2load(s, "1", work, batch, 8, 32, calls=100)) for server in counting]
    for kind, cores, sharing in (("shared one", "0", shared), ("shared two", "0,1", two)):
        steps += [
            (kind, server, seconds, lambda s, cores=cores: h2load(s, cores, work, seconds, 8, 32, processes=2))
            for server in sharing
        ]
    for server in ours:
        steps += [("own", server, seconds, own), ("half", server, seconds, half)]
    return steps


def measure(steps, rounds):
    """Runs all of it; returns the samples by kind and server, one a round: None where
    it failed."""
    samples = {}
    each = sum(duration + OVERHEAD_SECONDS for _, _, duration, _ in steps)
    left = each * rounds
    print(f"{rounds} rounds of {len(steps)} measurements: about {left / 60:.0f} min", flush=True)
    for number in range(1, rounds + 1):
        for kind, server, duration, how in steps:
            # Two cores are another process of the same server.
            name = server.name.removesuffix(", two cores")
            found, said = once(how, server)
            if found is None:
                print(f"{kind}, {server.name}: {said}; once more", flush=True)
                found, said = once(how, server)
            samples.setdefault(kind, {}).setdefault(name, []).append(found)
            left -= duration + OVERHEAD_SECONDS
            where = f"round {number}/{rounds}, {left / 60:4.1f} min left"
            print(f"{where}  {kind:10}  {server.name:28}  {said}", flush=True)
    return samples


def once(how, server):
    """One measurement and its figures as text; None and why, where it failed."""
    try:
        found = how(server)
    except (Failed, OSError) as error:
        return None, f"FAILED: {error}"
    return found, "  ".join(f"{name} {value:,.1f}" for name, value in found.items() if value)


def facts(options, rounds, seconds, load_before):
    """What it was measured on, and with what."""
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name"))
    model = next(models, platform.machine())
    commit = said_by("git", "describe", "--always", "--dirty")
    compiler = said_by("rustc", "--version").split(" (")[0]
    tool = said_by("h2load", "--version")
    return (
        f"Commit {commit}, profile {options.profile}, {compiler}, {tool}; {os.cpu_count()} cores of {model}, "
        f"load {load_before:.1f} at the start; rounds of {seconds} s: {rounds}; medians, least and most."
    )


def said_by(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"bench: {error}")
