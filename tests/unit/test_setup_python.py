"""Python packages come from locks, checked by hash; environments are whole or made whole."""

from __future__ import annotations

import ast
import base64
import hashlib
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gcp_openemr.errors import ToolMissing, Unreachable
from gcp_openemr.setup import python
from gcp_openemr.setup.lock import SOURCES, lock_path

CHECKOUT = Path(__file__).resolve().parents[2]
LOCKS = [lock_path(lock, CHECKOUT) for lock in SOURCES]
OURS = {"gcp_openemr", "jobs", "tests", "benchmarks"}
DISTRIBUTIONS = {
    "backports.zstd": "backports-zstd",
    "google.api_core": "google-api-core",
    "google.auth": "google-auth",
    "google.cloud.run_v2": "google-cloud-run",
    "google.cloud.secretmanager": "google-cloud-secret-manager",
    "google.cloud.storage": "google-cloud-storage",
    "google.oauth2": "google-auth",
    "google.protobuf": "protobuf",
    "googleapiclient": "google-api-python-client",
    "grpc": "grpcio",
    "pydantic_core": "pydantic",
    "ruamel.yaml": "ruamel-yaml",
    "xdist": "pytest-xdist",
}
"""Beginning of a module's name → distribution, where the module's first name is not the distribution's."""


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(key: str) -> set[str]:
    settings = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    names = settings["project"]["dependencies"] if key == "runtime" else settings["dependency-groups"][key]
    return {normal(re.split(r"[<>=~!\[ ]", name)[0]) for name in names}


def modules(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported(folder: str) -> dict[str, str]:
    """Distribution → a module of it that is imported somewhere in the folder."""
    found: dict[str, str] = {}
    for path in (CHECKOUT / folder).rglob("*.py"):
        for module in modules(ast.parse(path.read_text())):
            first = module.split(".")[0]
            if first in sys.stdlib_module_names or first in OURS:
                continue
            special = [name for start, name in DISTRIBUTIONS.items() if module.startswith(start)]
            found[special[0] if special else normal(first)] = f"{module} in {path}"
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_locked_version_has_hashes_and_no_registry_is_named(lock: Path) -> None:
    text = lock.read_text()
    assert not re.search(r"://|^-|find-links| @ ", text, re.MULTILINE)
    entries = re.findall(r"^\S", text, re.MULTILINE)
    pinned = re.findall(
        r"^[A-Za-z0-9._-]+==[^\n]* \\(?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+$", text, re.MULTILINE
    )
    assert len(pinned) == len(entries) > 0


def test_the_program_declares_what_it_imports_and_nothing_else() -> None:
    found = imported("gcp_openemr")
    build_time = {"setuptools"}  # the build of the wheel
    only_jobs = set(imported("jobs"))  # the sandbox runs jobs on the program's own Python
    assert set(found) - declared("runtime") - build_time == set()
    assert declared("runtime") - set(found) - only_jobs == set()


@pytest.mark.parametrize("folder", ["tests", "benchmarks"])
def test_tests_import_only_what_is_declared(folder: str) -> None:
    assert set(imported(folder)) - declared("runtime") - declared("dev") == set()


def test_the_job_image_gets_what_jobs_import_at_the_programs_versions() -> None:
    def pins(path: Path) -> set[tuple[str, str]]:
        return set(re.findall(r"^([a-z0-9-]+)==(\S+)", path.read_text(), re.MULTILINE))

    job = pins(lock_path("jobs", CHECKOUT))
    assert set(imported("jobs")) - {name for name, _ in job} == set()
    assert job <= pins(lock_path("runtime", CHECKOUT))


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Locks of one small package, `tiny`, which pip finds in a folder."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    wheel = shelf / "tiny-1.0-py3-none-any.whl"
    write_wheel(wheel)
    folder = tmp_path / "locks"
    folder.mkdir()
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (folder / "tiny.txt").write_text(f"tiny==1.0 \\\n    --hash=sha256:{digest}\n")
    monkeypatch.setattr(python, "LOCKS", folder)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return folder


def write_wheel(path: Path) -> None:
    files = {
        "tiny.py": "ANSWER = 42\n",
        "tiny-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        digests = {
            name: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
            for name, text in files.items()
        }
        record = "".join(f"{name},sha256={digests[name]},{len(text)}\n" for name, text in files.items())
        wheel.writestr("tiny-1.0.dist-info/RECORD", f"{record}tiny-1.0.dist-info/RECORD,,\n")


def test_a_tree_holds_the_locks_packages_and_is_made_once(locks: Path, tmp_path: Path) -> None:
    said: list[str] = []
    tree = python.ensure_tree("tiny", cache=tmp_path, log=said.append)
    assert (tree / "tiny.py").read_text() == "ANSWER = 42\n"
    assert python.ensure_tree("tiny", cache=tmp_path, log=said.append) == tree
    assert len(said) == 1


def test_what_a_killed_run_left_of_a_tree_is_replaced(locks: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny.partial").mkdir()
    (tmp_path / "tiny.partial" / "half").touch()
    tree = python.ensure_tree("tiny", cache=tmp_path, log=lambda _: None)
    assert not (tree / "half").exists()
    assert not (tmp_path / "tiny.partial").exists()


def test_another_lock_makes_another_tree(locks: Path, tmp_path: Path) -> None:
    before = python.tree_path("tiny", cache=tmp_path)
    (locks / "tiny.txt").write_text("tiny==2.0\n")
    assert python.tree_path("tiny", cache=tmp_path) != before


def test_a_file_that_is_not_the_locked_one_is_refused(locks: Path, tmp_path: Path) -> None:
    (locks / "tiny.txt").write_text(f"tiny==1.0 \\\n    --hash=sha256:{'0' * 64}\n")
    with pytest.raises(ToolMissing, match="DO NOT MATCH THE HASHES"):
        python.ensure_tree("tiny", cache=tmp_path, log=lambda _: None)
    assert not python.tree_path("tiny", cache=tmp_path).exists()


def test_an_index_that_does_not_answer_is_told_as_the_network(
    locks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(Unreachable) as refused:
        python.ensure_tree("tiny", cache=tmp_path, log=lambda _: None)
    assert refused.value.exit_code == 69


@pytest.fixture
def checkout(tmp_path: Path, locks: Path) -> Path:
    """A project without a build of its own, so that nothing but the locks is installed."""
    folder = tmp_path / "checkout"
    (folder / "small").mkdir(parents=True)
    (folder / "small" / "__init__.py").touch()
    (folder / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "small"\nversion = "1"\n'
    )
    (folder / "backend.py").write_text(
        "import zipfile\n"
        "def build_editable(folder, settings=None, metadata=None):\n"
        "    name = 'small-1-py3-none-any.whl'\n"
        "    with zipfile.ZipFile(f'{folder}/{name}', 'w') as wheel:\n"
        f"        wheel.writestr('small.pth', {str(folder)!r})\n"
        "        wheel.writestr('small-1.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: small\\nVersion: 1\\n')\n"
        "        wheel.writestr('small-1.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\n')\n"
        "        wheel.writestr('small-1.dist-info/RECORD', '')\n"
        "    return name\n"
    )
    (locks / "build.txt").write_text("")
    return folder


def answers(checkout: Path) -> bool:
    command = [str(checkout / ".venv/bin/python"), "-c", "import small, tiny; print(tiny.ANSWER)"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout == "42\n"


def test_an_environment_is_made_once_and_again_when_its_lock_changes(checkout: Path, locks: Path) -> None:
    said: list[str] = []
    assert python.ensure_environment(checkout, ["tiny"], log=said.append)
    assert answers(checkout)
    links = {os.readlink(link) for link in (checkout / ".venv" / "bin").glob("python*")}
    assert str(Path(sys.executable).resolve()) in links
    assert not python.ensure_environment(checkout, ["tiny"], log=said.append)
    (locks / "tiny.txt").write_text("# changed\n" + (locks / "tiny.txt").read_text())
    assert python.ensure_environment(checkout, ["tiny"], log=said.append)
    assert sum(line.startswith("Making") for line in said) == 1


@pytest.mark.parametrize("damage", [pytest.param("killed", marks=pytest.mark.torture), "python gone"])
def test_a_half_made_or_broken_environment_is_made_anew(checkout: Path, damage: str) -> None:
    folder = checkout / ".venv"
    folder.mkdir()
    if damage == "killed":
        python.ensure_environment(checkout, ["tiny"], log=lambda _: None)
        (folder / "unfinished").touch()
        next(folder.rglob("tiny.py")).unlink()
    else:
        (folder / "bin").mkdir()
        (folder / "bin" / "python").symlink_to("/nonexistent/python3.11")
    assert python.ensure_environment(checkout, ["tiny"], log=lambda _: None)
    assert answers(checkout)
