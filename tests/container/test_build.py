"""The Dockerfile's mechanics under buildah, which docker and podman share: stages, copies, users, arguments, labels.

The base is busybox with recorded stand-ins for all that needs the network; what Alpine's packages and OpenEMR's own
build do with it, only a build with the network proves.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.container.conftest import ROOT

STAND_INS = Path(__file__).with_name("alpine")
# Debian's busybox makes no users
ACCOUNTS = ROOT / "gcp_openemr" / "sandbox" / "runtime" / "alpine" / "sbin"
OPENEMR = "var/www/localhost/htdocs/openemr"
COMMIT = "1" * 40
BASES = {"BASE": "localhost/alpine", "COMPOSER": "localhost/tools", "NODE": "localhost/tools"}
TOOLS = ("usr/bin/composer", "usr/local/bin/node", "usr/local/lib/node_modules/npm/bin/npm-cli.js")


@dataclasses.dataclass(frozen=True)
class Builder:
    """Buildah with a storage of its own."""

    directory: Path

    def run(self, verb: str, *arguments: str) -> str:
        places = [
            f"--root={self.directory / 'root'}",
            f"--runroot={self.directory / 'run'}",
            "--storage-driver=overlay",
        ]
        command = ["buildah", *places, verb, *arguments]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def build(self, target: str, **arguments: str) -> None:
        given = [f"--build-arg={name}={value}" for name, value in {**BASES, **arguments}.items()]
        fixed = ["--isolation=chroot", "--pull-never", "--layers", f"--target={target}", f"--tag=localhost/{target}"]
        self.run("bud", *fixed, *given, f"--file={ROOT / 'container/Dockerfile'}", str(self.directory / "context"))

    def image(self, name: str) -> tuple[Path, dict[str, Any]]:
        """Its file system and its configuration."""
        mounted = Path(self.run("mount", self.run("from", "--pull-never", f"localhost/{name}")))
        return mounted, json.loads(self.run("inspect", "--type=image", f"localhost/{name}"))["OCIv1"]["config"]


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    directory = tmp_path_factory.mktemp("buildah")
    made = Builder(directory)
    for name in ("container", "jobs"):
        shutil.copytree(ROOT / name, directory / "context" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name, fill in (("alpine", _fill), ("tools", _fill_tools)):
        base = made.run("from", "scratch")
        fill(Path(made.run("mount", base)))
        made.run("commit", base, f"localhost/{name}")
    try:
        made.build("openemr")
        made.build("service", OPENEMR_VERSION="7.0.4")
        made.build("job")
        yield made
    finally:
        made.run("rm", "--all")
        # buildah leaves its storage mounted on itself, at times
        subprocess.run(["umount", "--lazy", str(directory / "root/overlay")], check=False, capture_output=True)


def _fill(root: Path) -> None:
    """Busybox, the libraries it needs, and the stand-ins."""
    for name in ("bin", "etc", "root", "sbin", "tmp", "usr/bin", "usr/local/bin", "usr/sbin", "var/www"):
        (root / name).mkdir(parents=True)
    busybox = Path(shutil.which("busybox") or "")
    listed = subprocess.run(["ldd", str(busybox)], capture_output=True, text=True, check=True).stdout.split()
    for file in (busybox, *(Path(word) for word in listed if word.startswith("/"))):
        (root / file.parent.relative_to("/")).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / file.relative_to("/"))
    shutil.copy(busybox, root / "bin/busybox")
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if not (root / "bin" / applet).exists():
            (root / "bin" / applet).symlink_to("busybox")
    for script in (*STAND_INS.iterdir(), *ACCOUNTS.iterdir()):
        shutil.copy(script, root / "bin" / script.name)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    (root / "calls").touch()
    (root / "calls").chmod(0o666)


def _fill_tools(root: Path) -> None:
    """What the stages take from the images of Node and Composer."""
    for name in TOOLS:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(STAND_INS / "recorded", root / name)


def test_the_service_serves_as_uid_1000_and_carries_no_way_to_set_up(builder: Builder) -> None:
    root, configuration = builder.image("service")
    assert configuration["User"] == "1000:1000"
    assert configuration["Entrypoint"] == ["/usr/local/bin/openemr-entrypoint"]
    assert "PORT=8080" in configuration["Env"]
    assert configuration["Labels"]["org.opencontainers.image.version"] == "7.0.4"
    assert configuration["Labels"]["org.opencontainers.image.base.name"] == "localhost/alpine"
    tree = root / OPENEMR
    assert sorted(path.name for path in tree.iterdir()) == ["ccdaservice", "contrib", "index.php", "interface", "sites"]
    assert not list((tree / "contrib/util").iterdir())
    assert (root / "usr/share/openemr/source").read_text() == f"rel-704 {COMMIT}\n"
    assert not list((tree / "sites").iterdir())
    assert (tree / "sites").stat().st_uid == (root / "run/openemr").stat().st_uid == 1000
    assert stat.S_IMODE((root / "usr/local/bin/openemr-entrypoint").stat().st_mode) == 0o755
    programs = {path.name for place in ("usr/bin", "usr/local/bin") for path in (root / place).iterdir()}
    assert "node" in programs
    assert not {"composer", "git", "npm", "python3"} & programs


def test_no_file_of_the_service_gives_another_users_rights(builder: Builder) -> None:
    root, _ = builder.image("service")
    assert (root / "usr/sbin/suexec").is_file()
    modes = (path.stat().st_mode for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    assert not [mode for mode in modes if mode & (stat.S_ISUID | stat.S_ISGID)]


def test_the_job_has_what_the_service_lacks(builder: Builder) -> None:
    root, configuration = builder.image("job")
    assert (configuration["User"], configuration["Entrypoint"]) == ("1000:1000", ["python3", "-m", "jobs"])
    assert (root / OPENEMR / "setup.php").is_file()
    assert (root / "usr/share/openemr/sites/default/config.php").is_file()
    assert (root / "opt/gcp-openemr/jobs/nfs_init.py").is_file()
    compiled = "python3 -m compileall -q --invalidation-mode unchecked-hash /opt/gcp-openemr/jobs"
    assert (root / "calls").read_text().splitlines()[-1] == compiled


def test_what_needs_the_network_is_asked_for_as_written(builder: Builder) -> None:
    root, _ = builder.image("openemr")
    calls = (root / "calls").read_text().splitlines()
    assert calls[0] == "apk upgrade --no-cache"
    assert "git clone --depth 1 --branch rel-704 https://github.com/openemr/openemr.git ." in calls
    assert "npm install --no-audit --no-fund" in calls
    assert "npm install --omit=dev --no-audit --no-fund" in calls
    assert any(call.startswith("composer install --no-dev") for call in calls)
    assert calls[-1] == "node /tmp/start-node-services.js ccdaservice"


def test_another_commit_than_the_wanted_is_refused(builder: Builder) -> None:
    with pytest.raises(AssertionError, match=f"rel-704 is at {COMMIT}, not at the wanted {'2' * 40}"):
        builder.build("openemr", OPENEMR_COMMIT="2" * 40)
