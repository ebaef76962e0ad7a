"""`python3 -m gcp_openemr.setup PART...`: what the Makefile calls, and what mends one part by hand.

`where-terraform` and `where-checkov` print a path on standard output and do nothing.
Parts: packages (Debian's), environment and development (the checkout's .venv), mysql, terraform (the shim, where
neither terraform nor tofu is on PATH), terraform-shim (in any case), checkov, lock and upgrade-locks (maintainers).
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

from gcp_openemr.errors import GcpOpenemrError, Interrupted, UsageError
from gcp_openemr.setup import lock, mysql, python, system, terraform

CHECKOUT = Path(__file__).resolve().parents[2]


def _log(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)


def _packages() -> str:
    added = system.install(system.needed(), log=_log)
    return f"{len(added)} installed" if added else "all there"


def _development() -> str:
    system.install(system.DEVELOPMENT_PACKAGES, log=_log)
    return _environment("runtime", "dev")


def _environment(*locks: str) -> str:
    return "brought up to its locks" if python.ensure_environment(CHECKOUT, locks, log=_log) else "as locked"


def _mysql() -> str:
    return str(mysql.fetch(log=_log))


def _terraform() -> str:
    if terraform.OVERRIDE not in os.environ and not (shutil.which("terraform") or shutil.which("tofu")):
        terraform.ensure_shim(log=_log)
    found = terraform.locate_terraform()
    return f"{found} at {found.path}"


def _terraform_shim() -> str:
    found = terraform.ensure_shim(log=_log)
    return f"{found} at {found.path}"


def _checkov() -> str:
    return str(python.ensure_tree("checkov", log=_log))


def _relock(*, upgrade: bool) -> str:
    return " ".join(lock.relock(CHECKOUT, upgrade=upgrade, log=_log)) or "nothing changed"


PARTS: Mapping[str, Callable[[], str]] = {
    "packages": _packages,
    "environment": lambda: _environment("runtime"),
    "development": _development,
    "mysql": _mysql,
    "terraform": _terraform,
    "terraform-shim": _terraform_shim,
    "checkov": _checkov,
    "lock": lambda: _relock(upgrade=False),
    "upgrade-locks": lambda: _relock(upgrade=True),
}

PLACES: Mapping[str, Callable[[], Path]] = {
    "where-terraform": lambda: terraform.locate_terraform().path,
    "where-checkov": lambda: python.tree_path("checkov"),
}


def main(parts: list[str]) -> int:
    """Do the named parts in order; returns the exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if len(parts) == 1 and parts[0] in PLACES:
            print(PLACES[parts[0]]())
            return 0
        unknown = [part for part in parts if part not in PARTS]
        if unknown or not parts:
            raise UsageError(f"No such part: {' '.join(unknown) or '(none named)'}.", do=f"Parts: {', '.join(PARTS)}")
        for part in parts:
            started = time.monotonic()
            done = PARTS[part]()
            print(f"setup {part}: {done} ({time.monotonic() - started:.1f} s)", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("Interrupted. Nothing is half done that the same command would not mend.", file=sys.stderr)
        return Interrupted.exit_code
    except GcpOpenemrError as error:
        print(f"{error.what}\n{error.do}".rstrip(), file=sys.stderr)
        return error.exit_code
    return 0


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
