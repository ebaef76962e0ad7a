"""This machine and the environment file."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator

from gcp_openemr.doctor.model import Finding, Subject, failed, ok, warning
from gcp_openemr.errors import GcpOpenemrError
from gcp_openemr.setup.terraform import MINIMUM, locate_terraform

__all__ = ["environment_file", "python", "terraform"]

_OLDEST = (3, 11)


def environment_file(subject: Subject) -> Iterator[Finding]:
    environment = subject.environment_or
    if isinstance(environment, GcpOpenemrError):
        yield failed(environment.what, do=environment.do)
        return
    yield ok(
        f"{subject.file}: {environment.name} ({environment.profile}) with {', '.join(environment.clinics)} in "
        f"{environment.project}, {environment.region}"
    )
    for sentence in environment.warnings:
        yield warning(sentence, do="Decide whether you can live with it.")


def python(_subject: Subject) -> Iterator[Finding]:
    if sys.version_info < _OLDEST:
        yield failed(f"Python {platform.python_version()} is too old", do="Install Python 3.11 or newer.")
    else:
        yield ok(f"Python {platform.python_version()} at {sys.executable}")


def terraform(_subject: Subject) -> Iterator[Finding]:
    """Raises ToolMissing, which says what to do."""
    found = locate_terraform()
    yield ok(f"{found} at {found.path} (wanted: {'.'.join(map(str, MINIMUM))} or newer)")
