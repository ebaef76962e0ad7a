"""Terraform keeps its state in a bucket that answers badly: each call of its life, each kind of fault."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import NotFound, PreconditionFailed
from google.oauth2.credentials import Credentials

from gcp_openemr import terraform as door
from gcp_openemr.clients import Cloud
from gcp_openemr.errors import Locked, TerraformFailed
from gcp_openemr.sandbox.api.app import App
from gcp_openemr.sandbox.api.nothing_runs import NothingRuns
from gcp_openemr.sandbox.api.server import serve
from gcp_openemr.setup.terraform import locate_terraform
from gcp_openemr.terraform import Terraform

BUCKET = "a-state-bucket"
LOCK = "prod/foundation/default.tflock"
MAIN = f"""
terraform {{
  backend "gcs" {{
    bucket = "{BUCKET}"
    prefix = "prod/foundation"
  }}
}}
resource "terraform_data" "once" {{
  input = "kept"
}}
output "made" {{
  value = terraform_data.once.id
}}
"""
KINDS: Mapping[str, dict[str, Any]] = {
    "503": {"effect": "status"},
    "429": {"effect": "status", "status": 429},
    "503 though done": {"effect": "status", "after": True},
    "dropped": {"effect": "drop"},
    "answer lost": {"effect": "drop", "after": True},
}
# What one life calls, as `test_the_points_are_those_of_a_life` finds it.
LIFE = {"storage.objects.list": 1, "storage.objects.get": 16, "storage.objects.insert": 5, "storage.objects.delete": 3}
POINTS = [
    (kind, method, nth)
    for kind, (method, count) in itertools.product(KINDS, LIFE.items())
    for nth in range(1, count + 1)
]
# Those that Terraform itself does not survive, and some of the others.
HARD = [("answer lost", "storage.objects.insert", 1), ("answer lost", "storage.objects.insert", 5)]
HARD += [("dropped", "storage.objects.insert", 5), ("dropped", "storage.objects.delete", 3)]
SAMPLE = HARD + random.Random(3).sample(POINTS, 3)  # noqa: S311 -- a sample


class Life:
    """A root from its first `init` to its outputs, in a world of its own."""

    def __init__(self, folder: Path, app: App, url: str) -> None:
        self.app = app
        credentials = Credentials(token=app.operator_token)
        self.bucket = Cloud(project="a-project", credentials=credentials, base=url).storage.create_bucket(BUCKET)
        (folder / "main.tf").write_text(MAIN)
        (folder / "terraform.rc").touch()
        self._terraform = Terraform(
            folder,
            binary=locate_terraform().path,
            environment={
                "TF_CLI_CONFIG_FILE": str(folder / "terraform.rc"),
                "GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT": f"{url}/storage/v1/",
                "GOOGLE_OAUTH_ACCESS_TOKEN": app.operator_token,
            },
            unlock=self._unlock,
        )

    def _unlock(self, lock: str) -> None:
        with contextlib.suppress(NotFound, PreconditionFailed):
            self.bucket.blob(LOCK).delete(if_generation_match=int(lock))

    def run(self) -> str:
        self._terraform.init()
        self._terraform.apply(self._terraform.plan())
        return str(self._terraform.outputs()["made"])

    @property
    def settled(self) -> bool:
        """Nothing is left to do, and no lock is left."""
        return self._terraform.plan().empty and not self.bucket.blob(LOCK).exists()


@contextlib.contextmanager
def world(folder: Path) -> Iterator[Life]:
    app = App(folder / "state")
    app.start(NothingRuns())
    server = serve(socket.create_server(("127.0.0.1", 0)), app)
    (folder / "root").mkdir()
    try:
        yield Life(folder / "root", app, f"http://127.0.0.1:{server.port}")
    finally:
        server.close()
        app.close()


def survives(folder: Path, kind: str, method: str, nth: int) -> None:
    with world(folder) as life:
        life.app.faults.add({**KINDS[kind], "method": method, "nth": nth})
        made = life.run()
        assert [fault.hits for fault in life.app.faults.all()] == [1]
        life.app.faults.clear()
        assert life.settled
        assert life.run() == made  # had its state been lost, it would have been made a second time


def test_the_points_are_those_of_a_life(tmp_path: Path) -> None:
    with world(tmp_path) as life:
        life.run()
        called = Counter(e.api_method for e in life.app.calls.read() if e.api_method.startswith("storage.objects."))
        assert called == LIFE


@pytest.mark.parametrize(("kind", "method", "nth"), SAMPLE)
def test_a_bad_answer_costs_no_state_and_leaves_no_lock(tmp_path: Path, kind: str, method: str, nth: int) -> None:
    survives(tmp_path, kind, method, nth)


def test_a_state_that_arrived_without_an_answer_is_not_saved_again(tmp_path: Path) -> None:
    with world(tmp_path) as life:
        for kind, nth in (("dropped", 5), ("answer lost", 7)):  # of an apply's state, and of what saves it afterwards
            life.app.faults.add({**KINDS[kind], "method": "storage.objects.insert", "nth": nth})
        made = life.run()
        assert [fault.hits for fault in life.app.faults.all()] == [1, 1]
        life.app.faults.clear()
        assert life.settled
        assert life.run() == made


def test_a_lock_that_nobody_can_read_is_waited_for_and_then_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "_PAUSES", (0.0, 0.0))
    with world(tmp_path) as life:
        made = life.run()
        life.bucket.blob(LOCK).upload_from_string("?")
        with pytest.raises(Locked, match="by another run since an unknown time"):
            life.run()
        planned = Counter(e.api_method for e in life.app.calls.read())["storage.objects.insert"]
        assert planned - LIFE["storage.objects.insert"] == 1 + 3
        life.bucket.blob(LOCK).delete()
        assert life.run() == made


@pytest.mark.torture
@pytest.mark.parametrize("seed", range(20))
def test_many_bad_answers_cost_no_state(tmp_path: Path, seed: int) -> None:
    with world(tmp_path) as life:
        for number, kind in enumerate(KINDS.values()):
            life.app.faults.add({**kind, "probability": 0.06, "seed": 10 * seed + number})
        made = set()
        for _ in range(3):
            with contextlib.suppress(TerraformFailed):
                made.add(life.run())
        life.app.faults.clear()
        made.add(life.run())
        assert life.settled
        assert made == {life.run()}


@pytest.mark.torture
@pytest.mark.parametrize(("kind", "method", "nth"), POINTS)
def test_no_bad_answer_costs_state_or_leaves_a_lock(tmp_path: Path, kind: str, method: str, nth: int) -> None:
    survives(tmp_path, kind, method, nth)
