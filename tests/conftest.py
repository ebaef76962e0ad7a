"""Guards of every test run: nothing but loopback is reached, and nothing is left behind."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

from tests import bad_days, leaks

_CLOSED = "http://127.0.0.1:9"  # the discard port: a child that wants out by a proxy is refused at once
_FOREIGN_SETTINGS = (
    "TF_",
    "GOOGLE_",
    "CLOUDSDK_",
    "GCLOUD_",
    "STORAGE_EMULATOR_HOST",
    "GCE_METADATA_",
    "GITHUB_",
    "GITLAB_",
)
_RUN = uuid.uuid4().hex
_SECONDS_TO_END = 10.0
# Files whose tests use one deployed environment, or the same plans: on one worker it is made once.
_TOGETHER = {
    "tests/rehearsal/test_deploy.py": "tests/rehearsal/test_backups.py",
    "tests/rehearsal/test_rotation.py": "tests/rehearsal/test_pipelines.py",
    "tests/terraform/test_policy_reach.py": "tests/terraform/test_policy.py",
}

hypothesis.settings.register_profile("quick", max_examples=50, deadline=None, derandomize=True)
hypothesis.settings.register_profile("torture", max_examples=1000, deadline=None, print_blob=True)
hypothesis.settings.load_profile("quick")


def _is_local(host: Any) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _refuse_the_outside(event: str, args: tuple[Any, ...]) -> None:
    """Audit hook: below every library, and no library can take it away."""
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        internet = args[0].family in (socket.AF_INET, socket.AF_INET6)
        host = args[1][0] if internet and args[1] is not None else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    if not _is_local(host):
        pytest.fail(f"A test wants to reach {host}: tests reach nothing but loopback.")


def _shut_children_in() -> None:
    for name in [name for name in os.environ if name.startswith(_FOREIGN_SETTINGS)]:
        del os.environ[name]
    os.environ.pop("CI", None)  # whoever runs the tests: the program under test is run by hand unless a test says so
    for name in ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy"):
        os.environ[name] = os.environ[name.upper()] = _CLOSED
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "localhost,127.0.0.1,127.0.0.0/8,::1"
    os.environ["CHECKPOINT_DISABLE"] = "1"
    os.environ[leaks.MARKER] = _RUN


sys.addaudithook(_refuse_the_outside)
_shut_children_in()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--torture", action="store_true", help="run the tests marked `torture` too, which take long")
    parser.addoption("--google-project", help="put the conformance cases to Google Cloud itself, in this project")
    parser.addoption("--faults", type=int, metavar="SEED", help="let the clouds of the product's tests answer badly")


def pytest_configure(config: pytest.Config) -> None:
    bad_days.SEED.value = config.getoption("--faults")
    if bad_days.SEED.value is not None:  # a library leaves the connection that was dropped to be collected
        config.addinivalue_line("filterwarnings", "ignore::ResourceWarning")
    config.addinivalue_line("markers", "torture: runs only with --torture, where a sample runs without it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out torture unless it is asked for. The rehearsals first: a long one at the end lets other workers wait."""
    if not config.getoption("--torture"):
        tortures = [item for item in items if item.get_closest_marker("torture")]
        items[:] = [item for item in items if item not in tortures]
        config.hook.pytest_deselected(items=tortures)
    if bad_days.SEED.value is not None:
        strict = [item for item in items if "/".join(item.path.parts[-2:]) in bad_days.LEFT_OUT]
        items[:] = [item for item in items if item not in strict]
        config.hook.pytest_deselected(items=strict)
    items.sort(key=lambda item: item.path.parent.name != "rehearsal")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests on one worker, and files that go together."""
    if config.getoption("dist") != "loadfile":
        return None
    scheduling = LoadFileScheduling(config, log)
    file_of = scheduling._split_scope
    scheduling._split_scope = lambda nodeid: _TOGETHER.get(file_of(nodeid), file_of(nodeid))
    return scheduling


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fails the last test's teardown when the run leaves a process, a mount or a listening port."""
    folder = Path(tmp_path_factory.getbasetemp())
    ports_before = leaks.listening_ports()
    yield

    def look() -> list[str]:
        ports = [port for port in leaks.listening_ports() if port not in ports_before]
        return leaks.processes(_RUN, folder) + leaks.mounts(folder) + ports

    found = leaks.settled(look, seconds=_SECONDS_TO_END)
    if found:
        pytest.fail("The tests left behind:\n  " + "\n  ".join(found))
