"""Fakes of the system's programs. They are programs: a folder of them goes in front of PATH."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from gcp_openemr.setup import apt

__all__ = ["Machine"]

_FAKE_APT_GET = r"""
import glob, json, os, pathlib, re, sys, time
here = pathlib.Path(__file__).parent
plan = json.loads((here / "plan.json").read_text())
guard = pathlib.Path("/usr/sbin/policy-rc.d")
call = {
    "arguments": sys.argv[1:],
    "frontend": os.environ.get("DEBIAN_FRONTEND", ""),
    "stdin": sys.stdin.read(),
    "policy": guard.read_text() if guard.exists() else "",
}
with (here / "apt-get.log").open("a") as log:
    log.write(json.dumps(call) + "\n")
words = [word for word in sys.argv[1:] if not word.startswith("-")]
if "--print-uris" in sys.argv:
    print("\n".join(plan["mirrors"]))
elif "update" in words and plan["update"]:
    sys.exit(plan["update"])
elif "install" in words and plan["install"]:
    sys.exit(plan["install"])
elif "install" in words and "--download-only" in sys.argv:
    config = pathlib.Path(os.environ["APT_CONFIG"]).read_text()
    cache = pathlib.Path(re.search(r'^Dir::Cache "(.*)";', config, re.MULTILINE)[1])
    for name in plan["archives"]:
        (cache / "archives" / name).write_text(name)
elif "install" in words:
    (here / "started").touch()
    time.sleep(plan["seconds"])
    for unit in plan["units"]:
        (pathlib.Path("/lib/systemd/system") / unit).touch()
    installed = here / "installed"
    known = installed.read_text() if installed.exists() else ""
    installed.write_text(known + "\n".join(words[words.index("install") + 1 :]) + "\n")
"""

_FAKE_DPKG_QUERY = """
import pathlib, sys
installed = pathlib.Path(__file__).with_name("installed")
known = installed.read_text().split() if installed.exists() else []
asked = [word for word in sys.argv[1:] if not word.startswith("-")]
print("\\n".join(f"{name} installed" for name in asked if name in known))
sys.exit(not set(asked) <= set(known))
"""

# a tree as Debian's packages unpack to; the loader is a program that starts the one it is given
_FAKE_DPKG_DEB = """
import json, pathlib, sys, time
here = pathlib.Path(__file__).parent
plan = json.loads((here / "plan.json").read_text())
root = pathlib.Path(sys.argv[3])
def put(name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
put("usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", '#!/bin/sh\\nshift 2\\nexec "$@"\\n')
put("usr/lib/x86_64-linux-gnu/libc.so.6", "")
put("usr/lib/x86_64-linux-gnu/perl/big", "")
put("usr/share/doc/mysql/README", "")
put("usr/share/mysql/charsets/Index.xml", "")
put("usr/lib/mysql/plugin/mysql_native_password.so", "")
put("usr/bin/mysql", "")
put("usr/bin/mysqldump", "")
put("usr/bin/perl", "")
(here / "started").touch()
time.sleep(plan["seconds"])
made = 'case $word in --datadir=*) mkdir "${word#*=}" && cd "${word#*=}" && touch auto.cnf ibdata1 ;; esac'
put("usr/sbin/mysqld", f"#!/bin/sh\\nfor word; do {made}; done\\necho '{plan['answer']}'\\n")
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Machine:
    """A folder of fake programs and what they are to do."""

    programs: Path

    @classmethod
    def at(cls, folder: Path, **plan: Any) -> Machine:
        folder.mkdir()
        machine = cls(programs=folder)
        for name, text in {
            "apt-get": _FAKE_APT_GET,
            "dpkg-query": _FAKE_DPKG_QUERY,
            "dpkg-deb": _FAKE_DPKG_DEB,
        }.items():
            machine.python_program(name, text)
        machine.program("dpkg", '[ "$1" != --print-architecture ] || echo amd64')
        machine.program("apt-config", "echo 'Acquire::http::Proxy \"http://proxy.example:3128\";'; echo 'Other \"1\";'")
        machine.plans(**plan)
        return machine

    def plans(self, **plan: Any) -> None:
        defaults: dict[str, Any] = {
            "answer": "mysqld  Ver 9.9.1-1 for Linux on x86_64 ((Debian))",
            "archives": ["mysql-server-core_9.9.1-1_amd64.deb", "libc6_2.43-7_amd64.deb"],
            "install": "",
            "mirrors": [f"'mirror://debian/dists/{apt.codename()}/InRelease' debian_InRelease 0 "],
            "seconds": 0,
            "units": [],
            "update": "",
        }
        (self.programs / "plan.json").write_text(json.dumps({**defaults, **plan}))

    def program(self, name: str, body: str) -> Path:
        return self._write(name, f"#!/bin/sh\n{body}\n")

    def python_program(self, name: str, body: str) -> Path:
        return self._write(name, f"#!{sys.executable} -IS\n{body}\n")

    def apt_get_calls(self, word: str) -> list[dict[str, Any]]:
        log = self.programs / "apt-get.log"
        calls = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
        return [call for call in calls if word in call["arguments"] and "--print-uris" not in call["arguments"]]

    def environment(self, home: Path) -> dict[str, str]:
        """For a child that shall live on this machine."""
        return {**os.environ, "PATH": f"{self.programs}:/usr/bin:/bin", "XDG_CACHE_HOME": str(home)}

    def _write(self, name: str, text: str) -> Path:
        path = self.programs / name
        path.write_text(text)
        path.chmod(0o755)
        return path
