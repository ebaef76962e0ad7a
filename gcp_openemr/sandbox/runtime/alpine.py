"""Debian dressed as Alpine: the bottom of every container's file system.

There is no Alpine package mirror in a sandbox without a network, so an image's programs are the host's: `/usr` is the
host's under a layer that puts busybox, Alpine's names (`httpd`, `php-fpm83`, `php83`) and Alpine's places on top. The
rest of the root is made here; nothing of the host's `/home`, `/root`, `/var` or `/srv` can be seen.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from gcp_openemr.environment.versions import LINES
from gcp_openemr.sandbox.runtime.network import METADATA_ADDRESS
from gcp_openemr.sandbox.runtime.processes import Overlay

__all__ = ["PARTS", "Alpine"]

# A layer has two parts: what lies over the host's /usr, and everything else.
PARTS = ("root", "usr")
_SCRIPTS = Path(__file__).parent / "alpine"
# where Node's image has it
_NPM = "local/lib/node_modules/npm/bin"
_PHP = sorted({line.php_number for line in LINES.values()})
_DIRECTORIES = {
    "dev": 0o755, "home": 0o755, "media": 0o755, "mnt": 0o755, "opt": 0o755, "proc": 0o755, "root": 0o700,
    "run/apache2": 0o755, "srv": 0o755, "sys/fs/cgroup": 0o755, "tmp": 0o1777, "usr": 0o755, "var/cache": 0o755,
    "var/lib": 0o755, "var/log/apache2": 0o755, "var/tmp": 0o1777, "var/www/localhost/htdocs": 0o755,
}  # fmt: skip
_FROM_HOST = ("alternatives", "fonts", "ImageMagick-6", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime")
_FROM_HOST_TOO = ("magic", "mime.types", "php", "protocols", "services", "ssl/certs", "ssl/openssl.cnf")
_USERS = """root:x:0:0:root:/root:/bin/ash
bin:x:1:1:bin:/bin:/sbin/nologin
daemon:x:2:2:daemon:/sbin:/sbin/nologin
nobody:x:65534:65534:nobody:/:/sbin/nologin
"""
_GROUPS = """root:x:0:root
bin:x:1:
daemon:x:2:
tty:x:5:
www-data:x:82:
nogroup:x:65533:
nobody:x:65534:
"""


class Alpine:
    """The base layer in `directory` (a file system in memory), made anew at each start of the daemon."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def make(self, *, ca_bundle: str) -> None:
        """Write the layer. `ca_bundle`: PEM of every authority a container trusts."""
        for part in PARTS:
            (self.directory / part).mkdir(parents=True)
        root, usr = self.directory / "root", self.directory / "usr"
        for name, mode in _DIRECTORIES.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            (root / name).chmod(mode)
        (root / "var/run").symlink_to("/run")
        for entry in Path("/").iterdir():
            if entry.is_symlink() and os.readlink(entry).lstrip("/").startswith("usr/"):
                (root / entry.name).symlink_to(os.readlink(entry))
        self._etc(root / "etc", ca_bundle)
        self._programs(usr)
        self._modules(usr)

    def overlays(self, layers: Iterable[Path] = ()) -> list[Overlay]:
        """The file system of a container whose image has these layers, the lowest first."""
        stack = [*reversed([*layers]), self.directory]
        root = [str(layer / "root") for layer in stack]
        usr = [str(layer / "usr") for layer in stack]
        return [Overlay(target="/", lower=root), Overlay(target="/usr", lower=[*usr, "/usr"])]

    def machine_overlays(self) -> list[Overlay]:
        """The file system of a machine, which is Debian's."""
        return [Overlay(target="/", lower=[str(self.directory / "root")]), Overlay(target="/usr", lower=["/usr"])]

    def _etc(self, etc: Path, ca_bundle: str) -> None:
        for name in (*_FROM_HOST, *_FROM_HOST_TOO):
            source, target = Path("/etc") / name, etc / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, symlinks=True)
            elif source.exists():
                shutil.copy2(source, target, follow_symlinks=False)
        files = {
            "passwd": _USERS,
            "group": _GROUPS,
            "hosts": "127.0.0.1 localhost\n",
            "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
            "resolv.conf": f"nameserver {METADATA_ADDRESS}\noptions timeout:5 attempts:2\n",
            "ssl/certs/ca-certificates.crt": ca_bundle,
        }
        (etc / "ssl/certs").mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (etc / name).write_text(text, encoding="utf-8")
        (etc / "ssl/cert.pem").symlink_to("certs/ca-certificates.crt")

    def _programs(self, usr: Path) -> None:
        for folder in ("bin", "sbin", "local/bin", _NPM):
            (usr / folder).mkdir(parents=True)
        for folder in ("bin", "sbin", _NPM):
            for script in (_SCRIPTS / folder).iterdir():
                shutil.copy(script, usr / folder / script.name)
                (usr / folder / script.name).chmod(0o755)
        (usr / "local/bin/node").symlink_to("/usr/bin/node")
        listed = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
        # Programs that are busybox on Alpine; the others of Debian's busybox are left to the host's own.
        for name in {*(_SCRIPTS / "busybox").read_text(encoding="utf-8").split()} & {*listed}:
            (usr / "bin" / name).symlink_to("busybox")
        for path, text in self._wrappers().items():
            (usr / path).write_text(f"#!/bin/sh\n{text}", encoding="utf-8")
            (usr / path).chmod(0o755)

    @staticmethod
    def _wrappers() -> dict[str, str]:
        """Scripts under Alpine's names that start Debian's programs."""
        fpm = next(iter(sorted(Path("/usr/sbin").glob("php-fpm[0-9]*"), reverse=True)), Path("/usr/sbin/php-fpm"))
        php = f"/usr/bin/php{fpm.name.removeprefix('php-fpm')}"
        # The program itself: a link may lead to /usr/bin/python3, where this very script lies in a container. By the
        # name it is called, Python knows its virtual environment.
        python = f"-a {shlex.quote(sys.executable)} {shlex.quote(str(Path(sys.executable).resolve()))}"
        environment = (
            'if [ "${1:-}" = -m ] && [ "${2:-}" = venv ]; then\n'
            '  for directory; do :; done\n  mkdir -p "$directory/bin"\n'
            '  for name in python python3; do ln -sf /usr/bin/python3 "$directory/bin/$name"; done\n'
            '  ln -sf /usr/bin/pip "$directory/bin/pip"\n  exit 0\nfi\n'
        )
        return {
            "sbin/httpd": 'exec /usr/sbin/apache2 "$@"\n',
            **{f"sbin/php-fpm{number}": f'exec {fpm} "$@"\n' for number in _PHP},
            **{f"bin/php{number}": f'exec {php} "$@"\n' for number in _PHP},
            "bin/python3": f'{environment}exec {python} "$@"\n',
            "bin/pip": 'echo "pip: the packages of this sandbox stand in"\n',
        }

    def _modules(self, usr: Path) -> None:
        """Alpine keeps Apache's modules one directory higher."""
        (usr / "lib/apache2").mkdir(parents=True)
        for module in Path("/usr/lib/apache2/modules").glob("mod_*.so"):
            (usr / "lib/apache2" / module.name).symlink_to(f"modules/{module.name}")
