"""The door to Terraform, with the real program and its built-in provider."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from gcp_openemr import interruption
from gcp_openemr import terraform as door
from gcp_openemr.errors import Interrupted, Locked, TerraformFailed
from gcp_openemr.setup.terraform import locate_terraform
from gcp_openemr.terraform import Terraform
from gcp_openemr.terraform_messages import Event, Plan

ONE = """
variable "word" { default = "a" }
resource "terraform_data" "one" {
  input = var.word
}
output "word" { value = terraform_data.one.output }
"""
SLOW = 'resource "terraform_data" "slow" {\n  provisioner "local-exec" { command = "exec sleep 30" }\n}\n'


def opened(folder: Path, text: str) -> Terraform:
    (folder / "main.tf").write_text(text)
    terraform = Terraform(
        folder, binary=locate_terraform().path, environment={"TF_CLI_CONFIG_FILE": "/dev/null"}, unlock=print
    )
    terraform.init()
    return terraform


def apply_until_interrupted(terraform: Terraform, plan: Plan) -> None:
    with pytest.raises(Interrupted):
        terraform.apply(plan)


def test_plan_then_apply_gives_outputs_and_then_nothing_is_left_to_do(tmp_path: Path) -> None:
    terraform = opened(tmp_path, ONE)
    plan = terraform.plan()
    assert [(c.address, c.type, c.action) for c in plan.changes] == [("terraform_data.one", "terraform_data", "create")]
    assert plan.file.stat().st_mode & 0o777 == 0o600
    events: list[Event] = []
    terraform.apply(plan, report=events.append)
    assert terraform.outputs() == {"word": "a"}
    assert [e.kind for e in events] == ["started", "completed"]
    assert not plan.file.exists()
    assert terraform.plan().empty


def test_an_apply_applies_the_plan_that_was_shown_and_not_a_newer_file(tmp_path: Path) -> None:
    terraform = opened(tmp_path, ONE)
    plan = terraform.plan()
    (tmp_path / "main.tf").write_text(ONE.replace('"a"', '"b"'))
    terraform.apply(plan)
    assert terraform.outputs() == {"word": "a"}


def test_a_replacement_is_told_from_an_update(tmp_path: Path) -> None:
    terraform = opened(tmp_path, ONE)
    terraform.apply(terraform.plan())
    (tmp_path / "main.tf").write_text(ONE.replace("input = var.word", "input = var.word\n  triggers_replace = 1"))
    [change] = terraform.plan().changes
    assert (change.action, change.reason, change.forced_by) == ("replace", "cannot update", ("triggers_replace",))
    (tmp_path / "main.tf").write_text(ONE.replace('"a"', '"b"'))
    [change] = terraform.plan().changes
    assert (change.action, change.before["input"], change.after["input"]) == ("update", "a", "b")


def test_outputs_are_empty_before_the_first_apply(tmp_path: Path) -> None:
    assert opened(tmp_path, ONE).outputs() == {}


def test_a_refusal_names_the_resource_and_what_to_do(tmp_path: Path) -> None:
    failing = 'resource "terraform_data" "bad" {\n  provisioner "local-exec" { command = "exit 7" }\n}\n'
    terraform = opened(tmp_path, failing)
    with pytest.raises(TerraformFailed) as caught:
        terraform.apply(terraform.plan())
    assert "terraform_data.bad" in caught.value.what
    assert "exit status 7" in caught.value.what
    assert "again" in caught.value.do


def test_a_configuration_error_is_told_with_its_file(tmp_path: Path) -> None:
    terraform = opened(tmp_path, ONE)
    (tmp_path / "main.tf").write_text(ONE + 'resource "terraform_data" "two" { inptu = 1 }\n')
    with pytest.raises(TerraformFailed, match=r"main\.tf.*inptu"):
        terraform.plan()


def test_a_held_state_lock_says_who_holds_it_and_how_to_end_a_dead_one(tmp_path: Path) -> None:
    terraform = opened(tmp_path, SLOW)
    plan = terraform.plan()
    applying = threading.Thread(target=apply_until_interrupted, args=(terraform, plan))
    applying.start()
    try:
        while not list(tmp_path.glob(".terraform.tfstate.lock.info")):
            time.sleep(0.05)
        with pytest.raises(Locked, match=r"is locked by .+@") as caught:
            terraform.plan()
        assert "force-unlock" in caught.value.do
    finally:
        door.interrupt_running()
        applying.join(20)
        interruption.reset()
    assert not list(tmp_path.glob(".terraform.tfstate.lock.info"))


def test_an_interrupted_apply_gives_its_lock_back_and_the_next_one_continues(tmp_path: Path) -> None:
    terraform = opened(tmp_path, ONE + SLOW)
    started = threading.Event()

    def report(event: Event) -> None:
        if event.kind == "completed":
            started.set()

    plan = terraform.plan()
    failure: list[BaseException] = []

    def run() -> None:
        try:
            terraform.apply(plan, report=report)
        except BaseException as error:
            failure.append(error)

    applying = threading.Thread(target=run)
    applying.start()
    assert started.wait(20)
    door.interrupt_running()
    applying.join(20)
    interruption.reset()
    assert isinstance(failure[0], Interrupted)
    assert not list(tmp_path.glob("*.lock.info"))
    assert "terraform_data.one" not in [c.address for c in terraform.plan().changes]
