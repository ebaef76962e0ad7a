"""`python3 -m gcp_openemr.setup packages|mysql`: one part of the setup, for the Makefile and by hand."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping

from gcp_openemr.errors import GcpOpenemrError, Interrupted, UsageError
from gcp_openemr.setup import mysql, system


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _packages() -> str:
    added = system.install(system.needed(), log=_log)
    return f"Debian packages: {len(added)} installed" if added else "Debian packages: all there"


def _mysql() -> str:
    found = mysql.fetch(log=_log)
    return f"Database server: {found}"


PARTS: Mapping[str, Callable[[], str]] = {"packages": _packages, "mysql": _mysql}


def main(arguments: list[str]) -> int:
    """Do the named part; returns the exit code."""
    try:
        if len(arguments) != 1 or arguments[0] not in PARTS:
            raise UsageError(f"Name one part: {', '.join(PARTS)}.")
        started = time.monotonic()
        done = PARTS[arguments[0]]()
        _log(f"{done} ({time.monotonic() - started:.1f} s)")
    except KeyboardInterrupt:
        _log("Interrupted. Run it again to go on.")
        return Interrupted.exit_code
    except GcpOpenemrError as error:
        _log(f"{error.what}\n{error.do}".rstrip())
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
