"""The door to PHP: OpenEMR's own code, run as the service runs it, with secrets in environment and stdin only."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs import log
from jobs.errors import InstallFailed
from jobs.redacted import Redacted
from jobs.settings import NfsInit, Server

__all__ = ["Database", "administrator", "hash_password", "install", "make_keys", "open_document"]

_SCRIPTS = Path(__file__).parent
_INI = Path("/etc/openemr/php.ini")
_SECONDS = 3600
# arguments in a stack trace could be passwords
_SETTINGS = ("display_errors=stderr", "max_execution_time=0", "zend.exception_ignore_args=1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Database:
    """The database that a script works on."""

    server: Server
    schema: str
    user: str
    password: Redacted

    def environment(self) -> dict[str, str]:
        """What sqlconf.php reads."""
        return {
            "MYSQL_HOST": self.server.host,
            "MYSQL_PORT": str(self.server.port),
            "MYSQL_DATABASE": self.schema,
            "MYSQL_USER": self.user,
            "MYSQL_PASS": self.password.reveal(),
        }


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


def open_document(application: Path, site: Path, files: Mapping[str, Path], reached: Database) -> str:
    """Have OpenEMR open the first encrypted one of a restored site's documents (id → file).

    Returns its id, or `keys` where none is encrypted and only the keys were opened.

    Raises:
        InstallFailed: it cannot.
    """
    given = json.dumps({identity: str(file) for identity, file in files.items()})
    return _run("open_document.php", [str(application), str(site)], stdin=given, environment=reached.environment())


def administrator(
    application: Path, reached: Database, user: str, passwords: Sequence[Redacted], *, fresh: Redacted | None = None
) -> dict[str, Any]:
    """Have OpenEMR look at a user, and hash `fresh` as it would keep it.

    Returns `found`, `verifies` (for each of the passwords whether the stored hash is of it), `stored` and `fresh` (the
    hashes), `second_factors` (their names) and `locked_by` (what locks the user out: `failed logins`, `inactive`). A
    second factor that was locked with the old hash is locked with OpenEMR's own key from then on.

    Raises:
        InstallFailed: it cannot.
    """
    given = {"user": user, "passwords": [one.reveal() for one in passwords], "fresh": fresh and fresh.reveal()}
    said = _run("administrator.php", [str(application)], stdin=json.dumps(given), environment=reached.environment())
    try:
        answer: dict[str, Any] = json.loads(said)
    except ValueError as error:
        raise InstallFailed("OpenEMR's administrator could not be looked at: PHP gave no answer.") from error
    return answer


def hash_password(password: Redacted) -> str:
    """The hash OpenEMR keeps in users_secure."""
    return _run("hash_password.php", [], stdin=password.reveal(), environment={})


def _database(wanted: NfsInit, password: Redacted) -> dict[str, str]:
    reached = Database(server=wanted.server, schema=wanted.schema, user=wanted.user, password=password)
    return reached.environment()


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
