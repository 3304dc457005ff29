"""What is in the package is what it was made from, and what it says works."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY, Server, StandIn

import quotagate

PACKAGE = REPOSITORY / "clients" / "python"


def test_the_stubs_are_those_of_the_proto(tmp_path: Path) -> None:
    subprocess.run([PACKAGE / "generate", tmp_path], check=True)
    for fresh in (tmp_path / "quotagate" / "v1").iterdir():
        committed = PACKAGE / "src" / "quotagate" / "v1" / fresh.name
        assert committed.read_text("utf-8") == fresh.read_text("utf-8"), "run ./generate"


def test_the_service_config_is_the_one_of_all_clients() -> None:
    shared = REPOSITORY / "clients" / "service_config.json"
    ours = PACKAGE / "src" / "quotagate" / "service_config.json"
    assert ours.read_text("utf-8") == shared.read_text("utf-8")


def test_the_version_stands_in_two_places() -> None:
    assert importlib.metadata.version("quotagate") == quotagate.__version__


def test_the_first_example_of_the_readme_runs(server: Server, stand_in: StandIn) -> None:
    readme = (PACKAGE / "README.md").read_text("utf-8")
    found = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert found is not None
    code = found[1]
    assert code.count("\n") <= 12
    for placeholder, real in (
        ("127.0.0.1:7400", server.address),
        ("https://acme.my.salesforce.com", stand_in.address),
        (
            "requests.Session()",
            "requests.Session()\nsession.headers['Authorization'] = 'Bearer a!b'",
        ),
    ):
        assert placeholder in code
        code = code.replace(placeholder, real)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True
    )
    assert (ran.stdout, ran.stderr) == ("200\n", "")


@pytest.mark.parametrize("module", ["quotagate", "quotagate.aio"])
def test_no_http_library_is_needed(module: str) -> None:
    code = f"import sys; sys.modules['requests'] = sys.modules['httpx'] = None; import {module}"
    subprocess.run([sys.executable, "-c", code], check=True)
