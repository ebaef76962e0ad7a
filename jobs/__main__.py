"""`python3 -m jobs JOB`: one run, one result record, one exit code (see jobs/errors.py)."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from jobs import backup_settings, errors, log, result, settings

__all__ = ["main"]

_Prepared = tuple[str, Callable[[], dict[str, Any]]]
"""Where the record goes, and the run."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a job and return its exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    begun = time.monotonic()
    uri = ""
    record: dict[str, Any] = {"job": options.job}
    try:
        uri, run = _JOBS[options.job][1](options)
        record |= {"ok": True, **run()}
        code = 0
    except errors.JobError as error:
        record |= {**error.record, "ok": False, "error": error.what, "do": error.do, "exit_code": error.exit_code}
        code = error.exit_code
    except Exception as error:  # the record and the log must tell of defects, too
        log.error(f"Unexpected {type(error).__name__}", traceback=traceback.format_exc())
        record |= {"ok": False, "error": f"Unexpected {type(error).__name__}: {error}", "do": "", "exit_code": 1}
        code = 1
    record["total_seconds"] = round(time.monotonic() - begun, 2)
    if code:
        log.error(f"{record['error']} {record['do']}".strip(), exit_code=code)
    result.write(uri or os.environ.get("RESULT_URI", ""), record)
    return code


def _nfs_init(options: argparse.Namespace) -> _Prepared:
    from jobs import nfs_init, share  # each job loads only its own clients

    wanted = settings.nfs_init(os.environ)

    def run() -> dict[str, Any]:
        share.require_mount(wanted.sites)
        return nfs_init.run(wanted, dry_run=options.dry_run)

    return wanted.result_uri, run


def _provision(_options: argparse.Namespace) -> _Prepared:
    from jobs import provision

    wanted = settings.provision(os.environ)
    return wanted.result_uri, lambda: provision.run(wanted)


def _upgrade(_options: argparse.Namespace) -> _Prepared:
    from jobs import upgrade, upgrade_settings

    wanted = upgrade_settings.upgrade(os.environ)
    return wanted.result_uri, lambda: upgrade.run(wanted)


def _rotate(_options: argparse.Namespace) -> _Prepared:
    from jobs.rotation import recipe, settings

    wanted = settings.rotate(os.environ)
    return wanted.result_uri, lambda: recipe.run(wanted)


def _redis_passwords(_options: argparse.Namespace) -> _Prepared:
    from jobs import redis_passwords
    from jobs.rotation import settings

    wanted = settings.redis_passwords(os.environ)
    return wanted.result_uri, lambda: redis_passwords.run(wanted)


def _background(_options: argparse.Namespace) -> _Prepared:
    from jobs import background, background_settings

    wanted = background_settings.background(os.environ)
    return wanted.result_uri, lambda: background.run(wanted)


def _of_backups(name: str) -> Callable[[argparse.Namespace], _Prepared]:
    def prepare(_options: argparse.Namespace) -> _Prepared:
        wanted = getattr(backup_settings, name)(os.environ)
        job = importlib.import_module(f"jobs.{name}")
        return wanted.result_uri, lambda: job.run(wanted)

    return prepare


_JOBS: Mapping[str, tuple[str, Callable[[argparse.Namespace], _Prepared]]] = {
    "provision": ("make or remove a clinic's directory, schemas and users (ACTION)", _provision),
    "nfs-init": ("bring a clinic's storage to the right state", _nfs_init),
    "backup": ("make one consistent set of a clinic's database and files", _of_backups("backup")),
    "verify": ("check the repository of a clinic's sets (READ_DATA, SET)", _of_backups("verify")),
    "drill": ("restore the newest set into scratch, compare, remove it again", _of_backups("drill")),
    "upgrade": ("bring a clinic from an older OpenEMR to this one (UPGRADE_FROM, UPGRADE_SET, REHEARSE)", _upgrade),
    "rotate": ("give the clinic new passwords (WHAT, DUE, NOW, FORCE)", _rotate),
    "redis-passwords": ("give the clinic's Redis user the passwords that its secret names", _redis_passwords),
    "background": ("let OpenEMR's own background services run that are due", _background),
    "prune": ("forget the sets that no generation keeps (KEEP_DAILY and so on)", _of_backups("prune")),
}


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise errors.Interrupted("The job was told to stop.", do="Run the same command again; it continues.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jobs", epilog=errors.__doc__, formatter_class=argparse.RawTextHelpFormatter)
    jobs = parser.add_subparsers(dest="job", required=True)
    for name, (help_text, _) in _JOBS.items():
        job = jobs.add_parser(name, help=help_text)
        if name == "nfs-init":
            job.add_argument("--dry-run", action="store_true", help="say the decision and its reason, change nothing")
    return parser


if __name__ == "__main__":
    os.umask(0o027)  # what OpenEMR's installer writes is for its user and nobody else
    sys.exit(main())
