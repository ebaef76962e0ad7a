"""The jobs' family of failures, one exit code each. Cloud Run shows the code, the result record the sentences.

JobError 1 (a defect of ours)
├── Refused 3               the state found could lose or mix data; nothing was changed
├── Unhealthy 6             a new revision did not become healthy; the old one serves
├── CloudRefused 7          a Google API refused a call
├── DatabaseRefused 8       the database refused a statement
├── InstallFailed 9         OpenEMR's installer did not leave a working clinic
├── UpgradeFailed 10        OpenEMR's upgrade did not leave a working clinic of the new release
├── BackupInvalid 65        the backup is damaged, unsafe, or not a backup of OpenEMR
├── BackupMissing 66        there is no such backup
├── BackupForbidden 67      the job's identity may not read the backup
├── Unreachable 69          database, Redis or network do not answer
├── ShareUnusable 74        the share is not mounted, not writable, or full
├── Busy 75                 another job holds this clinic: try again later
├── SecretUnavailable 77    a secret version cannot be read
├── SettingsInvalid 78      the job's variables are missing or wrong; `what` lists every problem
└── Interrupted 143         SIGTERM; the next run continues
64 is a wrong command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = [
    "BackupForbidden",
    "BackupInvalid",
    "BackupMissing",
    "Busy",
    "CloudRefused",
    "DatabaseRefused",
    "InstallFailed",
    "Interrupted",
    "JobError",
    "Refused",
    "SecretUnavailable",
    "SettingsInvalid",
    "ShareUnusable",
    "Unhealthy",
    "Unreachable",
    "UpgradeFailed",
]


class JobError(Exception):
    """A failure shown to people: `what` happened, and what to `do` next; `record` is what was done before."""

    exit_code = 1

    def __init__(self, what: str, *, do: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.do = do
        self.record: Mapping[str, Any] = {}


class Refused(JobError):
    """The state found could lose or mix data; nothing was changed."""

    exit_code = 3


class Unhealthy(JobError):
    """A new revision did not become healthy; the old one serves."""

    exit_code = 6


class CloudRefused(JobError):
    """A Google API refused a call."""

    exit_code = 7


class DatabaseRefused(JobError):
    """The database refused a statement; `number` is MySQL's."""

    exit_code = 8
    number: int = 0


class InstallFailed(JobError):
    """OpenEMR's installer did not leave a working clinic."""

    exit_code = 9


class UpgradeFailed(JobError):
    """OpenEMR's upgrade did not leave a working clinic of the new release."""

    exit_code = 10


class BackupInvalid(JobError):
    """The backup is damaged, unsafe, or not a backup of OpenEMR."""

    exit_code = 65


class BackupMissing(JobError):
    """There is no such backup."""

    exit_code = 66


class BackupForbidden(JobError):
    """The job's identity may not read the backup."""

    exit_code = 67


class Unreachable(JobError):
    """Database, Redis or network do not answer."""

    exit_code = 69


class ShareUnusable(JobError):
    """The share is not mounted, not writable, or full."""

    exit_code = 74


class Busy(JobError):
    """Another job holds this clinic."""

    exit_code = 75


class SecretUnavailable(JobError):
    """A secret version cannot be read."""

    exit_code = 77


class SettingsInvalid(JobError):
    """The job's variables are missing or wrong; `what` lists every problem."""

    exit_code = 78


class Interrupted(JobError):
    """SIGTERM; the next run continues."""

    exit_code = 143
