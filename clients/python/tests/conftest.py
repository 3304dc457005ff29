"""Real programs for the tests: the service and the stand-in for Salesforce."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import Self

REPOSITORY = Path(__file__).resolve().parents[3]
CONFORMANCE = REPOSITORY / "clients" / "conformance"
PROGRAM = os.environ.get("QUOTAGATE_BIN", str(REPOSITORY / "target" / "debug" / "quotagate"))


class Program:
    """A running quotagate, stopped at the end of its `with`."""

    def __init__(self, *arguments: str, until: str) -> None:
        self._arguments = arguments
        self._until = re.compile(until)
        self.address = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Runs it, and waits for its address."""
        self.process = subprocess.Popen(
            [PROGRAM, *self._arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := self._until.search(line):
                self.address = found[1]
                return
        raise AssertionError(f"{self._arguments} ended with {self.process.wait()}")

    def kill(self) -> None:
        """Ends it at once."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Server(Program):
    """`quotagate serve`; `address` is that of gRPC."""

    def __init__(self, config: Path = CONFORMANCE / "config.yaml", grpc: str = "127.0.0.1:0"):
        super().__init__(
            "serve", "--store", "memory:", "--config", str(config), "--log", "error",
            "--grpc", grpc, "--http", "127.0.0.1:0", until=r"gRPC\s+(\S+)",
        )  # fmt: skip


class StandIn(Program):
    """`quotagate standin`; `address` is its base URL."""

    def __init__(self, *options: str) -> None:
        super().__init__("standin", "--listen", "127.0.0.1:0", *options, until=r"(http://[^/\s]+)")

    def seen(self) -> Any:
        """What it has seen."""
        with urllib.request.urlopen(f"{self.address}/standin", timeout=5) as answer:
            return json.load(answer)


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    """Whether it becomes true in time."""
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            return False
        time.sleep(0.01)
    return True


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(scope="session")
def stand_in() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running
