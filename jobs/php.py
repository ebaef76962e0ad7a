"""The door to PHP: OpenEMR's own code, run as the service runs it, with secrets in environment and stdin only."""

from __future__ import annotations

import dataclasses
import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs import log
from jobs.errors import InstallFailed, UpgradeFailed
from jobs.redacted import Redacted
from jobs.settings import NfsInit, Server

__all__ = [
    "Database",
    "Upgraded",
    "administrator",
    "background_services",
    "hash_password",
    "install",
    "make_keys",
    "open_document",
    "upgrade",
]

_SCRIPTS = Path(__file__).parent
_INI = Path("/etc/openemr/php.ini")
_SECONDS = 3600
# words of OpenEMR's sql_upgrade.php and of the service that it calls for each file
_FINISHED = "upgrade finished"
_FAILED = "text-danger"
_PROCESSING = re.compile(r"Processing (\S+\.sql)")
_TAG = re.compile(r"<[^>]*>")
_AGAIN = "Run the same command again: what is done is skipped. Or go back: gcp-openemr upgrade --back"
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


def background_services(application: Path, reached: Database) -> None:
    """Have OpenEMR run the background services that are due. What they print may hold anything, and goes nowhere.

    Raises:
        InstallFailed: it could not.
    """
    _run("background_services.php", [str(application)], stdin="", environment=reached.environment())


def upgrade(application: Path, site: str, script: str, from_release: str, reached: Database) -> Upgraded:
    """Run one of OpenEMR's own upgrade scripts for a site, however long it takes.

    The scripts tell of a statement that failed, pass it over and end with 0; here that is a failure.

    Raises:
        UpgradeFailed: with OpenEMR's complaint.
    """
    command = _command("upgrade.php", [str(application), site, script, from_release])
    environment = _environment(reached.environment())
    heard = _Heard(script)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT, env=environment, text=True
    ) as process:
        try:
            for line in process.stdout or ():
                heard.line(line)
        except BaseException:
            process.kill()
            raise
    heard.check(process.returncode)
    return Upgraded(files=tuple(heard.files), statements=heard.statements)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Upgraded:
    """The files that a script of OpenEMR worked through, and how many statements it executed."""

    files: tuple[str, ...]
    statements: int


class _Heard:
    """What an upgrade script says, line by line. What it says of statements goes to no log: they may hold anything."""

    def __init__(self, script: str) -> None:
        self._script = script
        self._last = ""
        self._finished = False
        self._failures: list[str] = []
        self.files: list[str] = []
        self.statements = 0

    def line(self, text: str) -> None:
        plain = html.unescape(_TAG.sub(" ", text)).strip()
        if not plain:
            return
        self._last = plain
        self._finished = self._finished or _FINISHED in plain
        if _FAILED in text or plain.startswith("ERROR"):
            self._failures.append(plain)
            log.error(plain, program=self._script)
        elif found := _PROCESSING.search(plain):
            self.files.append(found[1])
            log.info(plain, program=self._script)
        elif text.rstrip().endswith(("<br />", "<br>")):
            self.statements += 1

    def check(self, status: int) -> None:
        if self._failures:
            more = f" and {len(self._failures) - 1} more" if len(self._failures) > 1 else ""
            raise UpgradeFailed(f"OpenEMR's {self._script} failed: {self._failures[0]}{more}", do=_AGAIN)
        if status != 0 or not self._finished:
            raise UpgradeFailed(f"OpenEMR's {self._script} ended early with {status}: {self._last}", do=_AGAIN)


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


def _command(script: str, arguments: list[str]) -> list[str]:
    program = shutil.which("php")
    if program is None:
        raise InstallFailed("PHP is not in this image.")
    ini = ["-c", str(_INI)] if _INI.is_file() else []
    options = [part for setting in _SETTINGS for part in ("-d", setting)]
    return [program, *ini, *options, str(_SCRIPTS / script), *arguments]


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    base = {"PATH": os.environ.get("PATH", ""), "PHP_MEMORY_LIMIT": "1024M", "TMPDIR": "/tmp"}  # noqa: S108
    return {**base, **environment}


def _run(script: str, arguments: list[str], *, stdin: str, environment: Mapping[str, str]) -> str:
    try:
        done = subprocess.run(
            _command(script, arguments),
            input=stdin,
            env=_environment(environment),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InstallFailed(f"{_title(script)} took longer than {_SECONDS} seconds.") from error
    for line in done.stderr.splitlines()[-20:]:
        log.warning(line, program=script)
    if done.returncode != 0:
        complaint = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise InstallFailed(f"{_title(script)} failed: {complaint}")
    return done.stdout


def _title(script: str) -> str:
    return f"OpenEMR's {script.removesuffix('.php').replace('_', ' ')}"
