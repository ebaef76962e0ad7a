"""`python3 -m jobs provision|nfs-init [--dry-run]`: one run, one result record, one exit code (see jobs/errors.py)."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

from jobs import errors, log, result, settings

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a job and return its exit code."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    begun = time.monotonic()
    uri = ""
    record: dict[str, Any] = {"job": options.job}
    try:
        uri, run = _nfs_init(options.dry_run) if options.job == "nfs-init" else _provision()
        record |= {"ok": True, **run()}
        code = 0
    except errors.JobError as error:
        record |= {"ok": False, "error": error.what, "do": error.do, "exit_code": error.exit_code}
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


def _nfs_init(dry_run: bool) -> tuple[str, Callable[[], dict[str, Any]]]:
    from jobs import nfs_init  # each job loads only its own clients

    wanted = settings.nfs_init(os.environ)
    return wanted.result_uri, lambda: nfs_init.run(wanted, dry_run=dry_run)


def _provision() -> tuple[str, Callable[[], dict[str, Any]]]:
    from jobs import provision

    wanted = settings.provision(os.environ)
    return wanted.result_uri, lambda: provision.run(wanted)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise errors.Interrupted("The job was told to stop.", do="Run the same command again; it continues.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="jobs", epilog=errors.__doc__, formatter_class=argparse.RawTextHelpFormatter)
    jobs = parser.add_subparsers(dest="job", required=True)
    jobs.add_parser("provision", help="make or remove a clinic's directory, schemas and users (ACTION)")
    init = jobs.add_parser("nfs-init", help="bring a clinic's storage to the right state")
    init.add_argument("--dry-run", action="store_true", help="say the decision and its reason, change nothing")
    parser.set_defaults(dry_run=False)
    return parser


if __name__ == "__main__":
    os.umask(0o027)  # what OpenEMR's installer writes is for its user and nobody else
    sys.exit(main())
