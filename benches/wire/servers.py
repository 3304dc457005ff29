"""The servers that are compared: how each is started, asked, and known to decide.

A server and what it cannot do without (etcd, Redis) share its cores.
"""

import dataclasses
import json
import os
import pathlib
import random
import shutil
import socket
import subprocess
import time
import urllib.request
from typing import Callable

import one_call
from one_call import field

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TOOLS = ROOT / ".tools"
PEERS = TOOLS / "peers"

ACQUIRE = "/quotagate.v1.QuotaService/Acquire"
RATE_LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"

# An org takes 100,000 permits at a time, and 100,000,000 calls a day: permits live
# for 100 ms, and every measurement has an org of its own.
PERMIT_NANOS = 100_000_000
ORGS = 400
WORKSPACE, OPERATION, USER = "bench-eu", "hot", "alice"
SMALL = "small"
CONFIG = f"""
catalogue:
  {OPERATION}:
    charges:
      - {{limit: of-user, scope: execution_user, max: 1000000000, window: 1m}}
      - {{limit: calls, scope: org}}
orgs:
  - {{id: {SMALL}, daily_calls: 2, reserve_percent: 0, workspaces: [{{id: {WORKSPACE}, daily_calls: 2}}]}}
""" + "".join(
    f"  - {{id: bench-{number}, daily_calls: 100000000, workspaces: [{{id: {WORKSPACE}, daily_calls: 100000000}}]}}\n"
    for number in range(ORGS)
)


@dataclasses.dataclass
class Server:
    """One server: `name` is the table's, `what` says what it does for a request."""

    name: str
    what: str
    # From the ports and a folder to what is started, in order: program, environment,
    # and the port on which it has to listen before the next is started.
    commands: Callable
    path: str
    # From the org (or key) and the number of calls to the request's message.
    request: Callable
    # Whether the answer's message says that all may go on.
    granted: Callable
    cores: str = "0"
    # Has `quotagate_decisions_total`.
    counts: bool = False
    # Answers our own client.
    ours: bool = False
    # Refuses what its key `small` asks for after the first time or two.
    refuses: bool = True

    def start(self, folder):
        """Starts it and waits until it can be asked."""
        self.folder = folder / self.name.replace(":", "").replace(" ", "-")
        self.folder.mkdir(parents=True)
        self.ports = [free_port() for _ in range(5)]
        self.port, self.orgs, self.processes = self.ports[0], 0, []
        for program, environment, port in self.commands(self.ports, self.folder):
            log = (self.folder / f"{pathlib.Path(program[0]).name}.log").open("w")
            self.processes.append(
                subprocess.Popen(
                    ["taskset", "-c", self.cores, *map(str, program)],
                    stdout=log, stderr=log, cwd=self.folder, env=own_environment() | environment,
                )  # fmt: skip
            )
            wait_for(port)
        self.wait()

    def wait(self, seconds=30):
        until, last = time.monotonic() + seconds, None
        while time.monotonic() < until:
            if (ended := next((one for one in self.processes if one.poll() is not None), None)) is not None:
                raise one_call.Failed(f"{self.name} ended with {ended.returncode}: {self.tail()}")
            try:
                if self.granted(self.ask(self.next_org())):
                    return
            except (OSError, one_call.Failed) as error:
                last = error
            time.sleep(0.2)
        raise one_call.Failed(f"{self.name} does not answer: {last}; {self.tail()}")

    def tail(self):
        """The last lines of its logs."""
        lines = (line.strip() for log in self.folder.glob("*.log") for line in log.read_text().splitlines()[-2:])
        return " | ".join(line[:200] for line in lines)

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def next_org(self):
        self.orgs = (self.orgs + 1) % ORGS
        return f"bench-{self.orgs}"

    def ask(self, org, calls=1):
        return one_call.call(self.port, self.path, self.request(org, calls))

    def check(self):
        """That it decides: it grants where there is room, and refuses where there is none."""
        if not self.granted(self.ask(self.next_org())):
            raise one_call.Failed(f"{self.name} refuses where there is room")
        if self.refuses and all(self.granted(self.ask(SMALL)) for _ in range(5)):
            raise one_call.Failed(f"{self.name} refuses nothing")

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[1]}/metrics", timeout=10) as answer:
            return answer.read().decode()

    def decisions(self):
        """How many it has granted and denied, by its own count."""
        return decisions_of(self.metrics())

    def waits(self):
        """How its grants waited for the store since the start."""
        return waits_of(self.metrics())

    def cpu_seconds(self):
        """Processor time of all its processes so far."""
        return sum(cpu_seconds(process.pid) for process in self.processes)


def decisions_of(metrics):
    """Granted and denied, of what /metrics says."""
    granted = denied = 0
    for line in metrics.splitlines():
        if line.startswith("quotagate_decisions_total{"):
            count = int(float(line.rsplit(" ", 1)[1]))
            if 'decision="granted"' in line:
                granted += count
            else:
                denied += count
    return granted, denied


# What is told apart of the time that a grant waited for the store, in seconds.
WAITS = ("0.001", "0.01", "0.1", "+Inf")


def waits_of(metrics):
    """Grants, reserves, and of the grants that waited for the store those within each of
    WAITS, and longer than the one before."""
    reserves, within = 0, dict.fromkeys(WAITS, 0)
    for line in metrics.splitlines():
        name, _, value = line.rpartition(" ")
        if name == 'quotagate_reserves_total{outcome="done"}':
            reserves = int(float(value))
        elif name.startswith("quotagate_store_wait_seconds_bucket{"):
            edge = name.split('le="')[1].split('"')[0]
            if edge in within:
                within[edge] = int(float(value))
    up_to = list(within.values())
    waited = [more - less for more, less in zip(up_to, [0, *up_to])]
    return {"granted": decisions_of(metrics)[0], "reserves": reserves, "waited": waited}


def cpu_seconds(pid):
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    # The name in brackets can hold anything; user and system time are the 14th and 15th.
    after = stat.rsplit(")", 1)[1].split()
    return (int(after[11]) + int(after[12])) / os.sysconf("SC_CLK_TCK")


def wait_for(port, seconds=30):
    """Until somebody listens there; who does not is noticed by the one that needs it."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)


def own_environment():
    """Without the options that somebody has set for quotagate."""
    return {name: value for name, value in os.environ.items() if not name.startswith("QUOTAGATE_")}


def free_port():
    """Below those from which connections are made: a client that tries a port of its
    own range until a server is there can find itself."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


# ---- requests and answers ----------------------------------------------------


def acquire(org, calls):
    ttl = field(2, PERMIT_NANOS)
    count = field(6, calls) if calls != 1 else b""
    return field(1, org) + field(2, WORKSPACE) + field(3, OPERATION) + field(4, USER) + count + field(10, ttl)


def is_permit(answer):
    """A permit with an id, for at least one call."""
    for number, permit in one_call.fields(answer):
        if number == 1:
            found = dict(one_call.fields(permit))
            return bool(found.get(1)) and found.get(2, 0) > 0
    return False


def limits_of(answer):
    """How many limits a permit was charged to."""
    permit = dict(one_call.fields(answer)).get(1, b"")
    return sum(number == 6 for number, _ in one_call.fields(permit))


def throttle(key, calls):
    burst = 2 if key == SMALL else 1_000_000_000
    # So many in a day: key, burst, count, period, quantity.
    return field(1, key) + field(2, burst) + field(3, burst) + field(4, 86_400) + field(5, calls)


def is_allowed(answer):
    return dict(one_call.fields(answer)).get(1) == 1


def should_rate_limit(key, calls):
    entries = [("org", key), ("workspace", WORKSPACE), ("user", USER)]
    descriptors = b"".join(field(2, field(1, field(1, name) + field(2, value))) for name, value in entries)
    return field(1, "bench") + descriptors + field(3, calls)


def is_ok(answer):
    """OK is 1, OVER_LIMIT 2."""
    return dict(one_call.fields(answer)).get(1) == 1


def get_rate_limits(key, calls):
    limit = 1 if key == SMALL else 1_000_000_000

    def one(name):
        return field(1, field(1, name) + field(2, key) + field(3, calls) + field(4, limit) + field(5, 86_400_000))

    return one("org") + one("workspace") + one("user")


def all_under(answer):
    """Each of them is answered, with UNDER_LIMIT (0) and no error."""
    answers = [dict(one_call.fields(one)) for number, one in one_call.fields(answer) if number == 1]
    return len(answers) == 3 and all(not one.get(1) and not one.get(5) for one in answers)


# ---- who there is ------------------------------------------------------------


def quotagate(program, store, cores="0"):
    def commands(ports, folder):
        grpc, http, peer, client, raft = ports
        (folder / "wire.yaml").write_text(CONFIG)
        where = {"memory:": ["memory:"], "file:": [f"file:{folder}/data"]}.get(store)
        serve = [
            program, "serve", "--config", folder / "wire.yaml",
            "--grpc", f"127.0.0.1:{grpc}", "--http", f"127.0.0.1:{http}", "--store",
        ]  # fmt: skip
        if where:
            return [(serve + where, {}, grpc)]
        etcd = [
            find_etcd(), f"--data-dir={folder}/etcd", "--log-level=error",
            f"--listen-client-urls=http://127.0.0.1:{client}", f"--advertise-client-urls=http://127.0.0.1:{client}",
            f"--listen-peer-urls=http://127.0.0.1:{raft}", f"--initial-advertise-peer-urls=http://127.0.0.1:{raft}",
            f"--initial-cluster=default=http://127.0.0.1:{raft}",
        ]  # fmt: skip
        cluster = [f"etcd://127.0.0.1:{client}/wire", "--create-cluster", "--peer", f"127.0.0.1:{peer}"]
        return [(etcd, {}, client), (serve + cluster, {}, grpc)]

    durable = {"memory:": "in memory", "file:": "durable", "etcd:": "durable, in a cluster"}
    name = f"quotagate {store}" + (", two cores" if "," in cores else "")
    what = f"three limits, {durable[store]}"
    return Server(name, what, commands, ACQUIRE, acquire, is_permit, cores, counts=True, ours=True)


def echo(program, cores="0"):
    workers = ["--workers", "2"] if "," in cores else []

    def commands(ports, _):
        return [([program, "--grpc", f"127.0.0.1:{ports[0]}", *workers], {}, ports[0])]

    name = "tonic echo" + (", two cores" if workers else "")
    what = "nothing: the same answer always"
    return Server(name, what, commands, ACQUIRE, acquire, is_permit, cores, ours=True, refuses=False)


def throttlecrab(program):
    def commands(ports, _):
        serve = [program, "--grpc", "--grpc-host", "127.0.0.1", "--grpc-port", ports[0], "--log-level", "error"]
        return [(serve, {}, ports[0])]

    path = "/throttlecrab.RateLimiter/Throttle"
    return Server("throttlecrab", "one limit, in memory", commands, path, throttle, is_allowed)


def limitador(program):
    def commands(ports, folder):
        roomy = ("descriptors[0]['org']", "descriptors[1]['workspace']", "descriptors[2]['user']")
        day = {"namespace": "bench", "seconds": 86_400}
        limits = [day | {"max_value": 1_000_000_000, "conditions": [], "variables": [name]} for name in roomy]
        limits.append(day | {"max_value": 1, "conditions": [f"{roomy[0]} == '{SMALL}'"], "variables": []})
        (folder / "limits.yaml").write_text(json.dumps(limits))
        rls = ["--rls-ip", "127.0.0.1", "--rls-port", ports[0], "--http-ip", "127.0.0.1", "--http-port", ports[1]]
        return [([program, *rls, folder / "limits.yaml", "memory"], {}, ports[0])]

    return Server("limitador", "three limits, in memory", commands, RATE_LIMIT, should_rate_limit, is_ok)


def gubernator(program):
    def commands(ports, _):
        environment = {
            "GUBER_GRPC_ADDRESS": f"127.0.0.1:{ports[0]}",
            "GUBER_HTTP_ADDRESS": f"127.0.0.1:{ports[1]}",
            "GUBER_ADVERTISE_ADDRESS": f"127.0.0.1:{ports[0]}",
            "GUBER_PEER_DISCOVERY_TYPE": "none",
        }
        return [([program], environment, ports[0])]

    path = "/pb.gubernator.V1/GetRateLimits"
    return Server("gubernator", "three limits, in memory", commands, path, get_rate_limits, all_under)


def ratelimit(program, redis):
    def commands(ports, folder):
        grpc, http, debug, cache, _ = ports
        config = folder / "runtime" / "ratelimit" / "config"
        config.mkdir(parents=True)
        limits = (("org", None, 10**9), ("org", SMALL, 1), ("workspace", None, 10**9), ("user", None, 10**9))
        rates = "".join(
            f"  - key: {name}\n" + (f"    value: {value}\n" if value else "")
            + f"    rate_limit: {{unit: day, requests_per_unit: {most}}}\n"
            for name, value, most in limits
        )  # fmt: skip
        (config / "bench.yaml").write_text(f"domain: bench\ndescriptors:\n{rates}")
        environment = {
            "GRPC_HOST": "127.0.0.1", "GRPC_PORT": str(grpc), "HOST": "127.0.0.1", "PORT": str(http),
            "DEBUG_HOST": "127.0.0.1", "DEBUG_PORT": str(debug), "USE_STATSD": "false", "DISABLE_STATS": "true",
            "LOG_LEVEL": "error", "REDIS_SOCKET_TYPE": "tcp", "REDIS_URL": f"127.0.0.1:{cache}",
            "BACKEND_TYPE": "redis",
            "RUNTIME_ROOT": f"{folder}/runtime", "RUNTIME_SUBDIRECTORY": "ratelimit", "RUNTIME_WATCH_ROOT": "false",
        }  # fmt: skip
        store = [redis, "--port", cache, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        return [(store, {}, cache), ([program], environment, grpc)]

    return Server("Envoy's ratelimit", "three limits, in Redis", commands, RATE_LIMIT, should_rate_limit, is_ok)


def find(name, *places):
    """A program of .tools/, or of the PATH."""
    return next((str(place) for place in places if place.exists()), shutil.which(name))


def find_etcd():
    return find("etcd", *sorted(TOOLS.glob("etcd-*/etcd")), TOOLS / "packaged" / "etcd")


def all_servers(programs):
    """Those that there are, and a line for each that there is not."""
    skipped = []
    stores = ["memory:", "file:"] + (["etcd:"] if find_etcd() else [])
    servers = [echo(programs["echo"])] + [quotagate(programs["quotagate"], store) for store in stores]
    if not find_etcd():
        skipped.append("quotagate etcd: there is no etcd (./x tools, or Debian's package etcd-server)")
    peers = [
        ("throttlecrab-server", throttlecrab, "./x bench --peers builds it"),
        ("limitador-server", limitador, "it is in no registry: build it from its repository, put it on the PATH"),
        ("gubernator", gubernator, "./x bench --peers builds it where Go's proxy has it; or put it on the PATH"),
    ]
    for name, make, how in peers:
        program = find(name, PEERS / name)
        if program:
            servers.append(make(program))
        else:
            skipped.append(f"{name}: not found ({how})")
    program, redis = find("ratelimit", PEERS / "ratelimit"), find("redis-server", TOOLS / "packaged" / "redis-server")
    if program and redis:
        servers.append(ratelimit(program, redis))
    else:
        which = "redis-server" if program else "ratelimit"
        skipped.append(f"Envoy's ratelimit: {which} not found (./x bench --peers gets it)")
    return servers, skipped
