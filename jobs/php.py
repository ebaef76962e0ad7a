"""The door to PHP: OpenEMR's own code, run as the service runs it, with secrets in environment and stdin only."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from jobs import log
from jobs.errors import InstallFailed
from jobs.redacted import Redacted
from jobs.settings import NfsInit

__all__ = ["hash_password", "install", "make_keys"]

_SCRIPTS = Path(__file__).parent
_INI = Path("/etc/openemr/php.ini")
_SECONDS = 3600
# arguments in a stack trace could be passwords
_SETTINGS = ("display_errors=stderr", "max_execution_time=0", "zend.exception_ignore_args=1")


def install(wanted: NfsInit, password: Redacted, admin_password: Redacted) -> None:
    """Run OpenEMR's installer into an empty schema.

    Raises:
        InstallFailed: with the installer's complaint.
    """
    variables = {
        "site": "default",
        "server": wanted.server.host,
        "port": str(wanted.server.port),
        "loginhost": "%",
        "login": wanted.user,
        "pass": password.reveal(),
        "dbname": wanted.schema,
        "collate": "utf8mb4_general_ci",
        "no_root_db_access": "1",
        "iuser": wanted.admin_user,
        "iuserpass": admin_password.reveal(),
        "iuname": "Administrator",
        "iufname": "OpenEMR",
        "igroup": "Default",
    }
    _run("install.php", [str(wanted.application)], stdin=json.dumps(variables), environment=_database(wanted, password))


def make_keys(wanted: NfsInit, password: Redacted) -> None:
    """Have OpenEMR make its encryption keys.

    Raises:
        InstallFailed: it did not.
    """
    _run("make_keys.php", [str(wanted.application)], stdin="", environment=_database(wanted, password))


def hash_password(password: Redacted) -> str:
    """The hash OpenEMR keeps in users_secure."""
    return _run("hash_password.php", [], stdin=password.reveal(), environment={})


def _database(wanted: NfsInit, password: Redacted) -> dict[str, str]:
    """What sqlconf.php reads."""
    return {
        "MYSQL_HOST": wanted.server.host,
        "MYSQL_PORT": str(wanted.server.port),
        "MYSQL_DATABASE": wanted.schema,
        "MYSQL_USER": wanted.user,
        "MYSQL_PASS": password.reveal(),
    }


def _run(script: str, arguments: list[str], *, stdin: str, environment: Mapping[str, str]) -> str:
    program = shutil.which("php")
    if program is None:
        raise InstallFailed("PHP is not in this image.")
    ini = ["-c", str(_INI)] if _INI.is_file() else []
    base = {"PATH": os.environ.get("PATH", ""), "PHP_MEMORY_LIMIT": "1024M", "TMPDIR": "/tmp"}  # noqa: S108
    options = [part for setting in _SETTINGS for part in ("-d", setting)]
    done = subprocess.run(
        [program, *ini, *options, str(_SCRIPTS / script), *arguments],
        input=stdin,
        env={**base, **environment},
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    for line in done.stderr.splitlines()[-20:]:
        log.warning(line, program=script)
    if done.returncode != 0:
        complaint = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise InstallFailed(f"OpenEMR's {script.removesuffix('.php').replace('_', ' ')} failed: {complaint}")
    return done.stdout
