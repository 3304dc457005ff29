"""The load: h2load and our own client, and what their output says."""

import json
import re
import subprocess

from one_call import Failed, framed
from servers import OPERATION, PERMIT_NANOS, USER, WORKSPACE, own_environment

WARM_UP = "300ms"
# Up to so many requests in flight h2load writes down how long each took: with more, that
# says how they waited for each other.
MOST_TIMED = 8


def h2load(server, cores, folder, seconds, connections, streams, calls=1, processes=1):
    """Puts load on a server, and returns what came of it, with latencies where few
    requests are in flight at a time. Each process has an org of its own, which is asked
    for a moment before: its first blocks are small. Where the server counts its
    decisions, they have to be those that h2load was answered: all granted."""
    bodies = []
    for number in range(processes):
        body = folder / f"body-{number}"
        body.write_bytes(framed(server.request(server.next_org(), calls)))
        bodies.append(body)
    log = folder / "h2load.log"
    few = processes == 1 and connections * streams <= MOST_TIMED
    commands = [
        [
            "taskset", "-c", cores, "h2load", "-D", f"{seconds}s", "-c", str(connections), "-m", str(streams),
            "-d", str(body), "-H", "content-type: application/grpc", "-H", "te: trailers",
            *(["--log-file", str(log)] if few else []),
            f"http://127.0.0.1:{server.port}{server.path}",
        ]
        for body in bodies
    ]  # fmt: skip
    run([[WARM_UP if part == f"{seconds}s" else part for part in command] for command in commands])
    log.unlink(missing_ok=True)
    before = server.decisions() if server.counts else None
    cpu = server.cpu_seconds()
    outputs = run(commands)
    cpu = server.cpu_seconds() - cpu
    parts = [parse_h2load(output) for output in outputs]
    done = sum(part["done"] for part in parts)
    if server.counts:
        after = server.decisions()
        # Also what was under way when the moment before was over.
        in_flight = 2 * processes * connections * streams
        check_decisions(done, after[0] - before[0], after[1] - before[1], in_flight)
    found = {
        "rate": sum(part["rate"] for part in parts),
        "bytes": parts[0]["data"] / max(1, parts[0]["done"]),
        "cpu_us": cpu * 1e6 / max(1, done),
        "calls": sum(part["rate"] for part in parts) * calls,
    }
    if few:
        found |= percentiles_of(log.read_text())
    return found


def run(commands):
    """What each of them says; they run beside each other."""
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for command in commands
    ]
    return [process.communicate(timeout=120)[0] for process in started]


def parse_h2load(output):
    """Requests a second, how many were done, and bytes of answers' bodies. Anything but
    answers with HTTP 200 is a failure; the last ones have begun, and are not done."""

    def find(pattern):
        match = re.search(pattern, output, re.MULTILINE)
        if not match:
            raise Failed(f"h2load says nothing like {pattern!r}:\n{output}")
        return match.groups()

    (rate,) = find(r"^finished in .*?, ([\d.]+) req/s")
    done, succeeded, failed, errored, timeout = map(
        int, find(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
    )
    good, *others = map(int, find(r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx"))
    (data,) = find(r"\((\d+)\) data$")
    if failed or errored or timeout or any(others) or not 0 < done == succeeded <= good:
        said = (line for line in output.splitlines() if line.startswith(("requests:", "status codes:")))
        raise Failed("h2load met failures: " + "; ".join(said))
    return {"rate": float(rate), "done": done, "data": int(data)}


def check_decisions(answered, granted, denied, in_flight):
    """What was in flight is granted and not counted by h2load; nothing else is."""
    if denied:
        raise Failed(f"{denied} of {answered} requests were denied")
    if not answered <= granted <= answered + in_flight:
        raise Failed(f"h2load was answered {answered} times, and {granted} were granted")


def percentiles_of(log):
    """Of h2load's log: a start, a status and a latency in microseconds on each line."""
    latencies = sorted(int(line.split("\t")[2]) for line in log.splitlines())
    if not latencies:
        raise Failed("h2load has logged nothing")

    def at(share):
        return latencies[min(len(latencies) - 1, int(len(latencies) * share))]

    return {"p50": at(0.5), "p99": at(0.99), "max": latencies[-1]}


def own_client(program, server, cores, seconds, rate=None):
    """The same by `quotagate bench`, which looks at every answer; with a rate, open-loop."""
    command = [
        "taskset", "-c", cores, program, "bench", "--server", f"127.0.0.1:{server.port}", "--org", server.next_org(),
        "--operation", OPERATION, "--workspace", WORKSPACE, "--execution-user", USER,
        "--permit-ttl", f"{PERMIT_NANOS // 1_000_000}ms", "--connections", "4", "--concurrency", "64",
        "--duration", f"{round(seconds * 1000)}ms", "-o", "json", *(["--rate", str(rate)] if rate else []),
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, env=own_environment(), timeout=seconds + 60)
    if ran.returncode != 0:
        raise Failed(f"quotagate bench: {ran.stderr} {ran.stdout}")
    return parse_own(json.loads(ran.stdout))


def parse_own(said):
    if said["denied"] or said["errors"] or not said["granted"]:
        raise Failed(f"{said['granted']} granted, {said['denied']} denied, {said['errors']} errors")
    latency = said["grantedLatencyMicros"]
    found = {name: latency[name] for name in ("p50", "p99", "max")}
    return found | {"rate": said["decisionsPerSecond"], "unsent": said.get("unsent", 0)}
