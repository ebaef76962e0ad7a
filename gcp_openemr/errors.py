"""The family of failures. Each says what happened and what to do next, and owns one exit code.

GcpOpenemrError 1 (a defect of ours)
├── DataLossRefused 3          a plan would destroy or replace something that holds data
├── TerraformFailed 4          Terraform, or the cloud through it, refused
├── JobFailed 5                a Cloud Run job ended without success
├── Unhealthy 6                the clinic does not answer as healthy
├── CloudRefused 7             a Google API refused a call
├── BuildFailed 8              the image could not be built
├── FaultsFound 9              doctor found what keeps a command from working
├── NotFinished 10             Google holds something for a while: come back later
├── PlanChanged 11             the plan to be applied is not the reviewed one
├── RehearsalFailed 12         a rehearsal lost something, or a command of it failed
├── UsageError 64              the command line is wrong
├── EnvironmentInvalid 65      the environment file holds wrong keys or values
├── InputMissing 66            a named file is missing or cannot be read
├── Unreachable 69             the network, a registry or the sandbox does not answer
├── ToolMissing 71             a program is missing or too old
├── Locked 75                  another run holds the environment: try again later
├── NotPermitted 77            the operating system refuses (root is needed)
└── Interrupted 130            Ctrl-C or SIGTERM
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

__all__ = [
    "BuildFailed",
    "CloudRefused",
    "DataLossRefused",
    "EnvironmentInvalid",
    "FaultsFound",
    "GcpOpenemrError",
    "InputMissing",
    "Interrupted",
    "JobFailed",
    "Locked",
    "NotFinished",
    "NotPermitted",
    "PlanChanged",
    "RehearsalFailed",
    "TerraformFailed",
    "ToolMissing",
    "Unhealthy",
    "Unreachable",
    "UsageError",
]


class GcpOpenemrError(Exception):
    """A failure shown to people: `what` happened, and what to `do` next."""

    exit_code = 1

    def __init__(self, what: str, *, do: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.do = do


class DataLossRefused(GcpOpenemrError):
    """A plan would destroy or replace something that holds data."""

    exit_code = 3


class TerraformFailed(GcpOpenemrError):
    """Terraform, or the cloud through it, refused."""

    exit_code = 4


class JobFailed(GcpOpenemrError):
    """A Cloud Run job ended without success; `record` is what it said of what it did, where it could."""

    exit_code = 5

    def __init__(self, what: str, *, do: str = "", record: Mapping[str, Any] = MappingProxyType({})) -> None:
        super().__init__(what, do=do)
        self.record = record


class Unhealthy(GcpOpenemrError):
    """The clinic does not answer as healthy."""

    exit_code = 6


class CloudRefused(GcpOpenemrError):
    """A Google API refused a call."""

    exit_code = 7


class BuildFailed(GcpOpenemrError):
    """The image could not be built."""

    exit_code = 8


class FaultsFound(GcpOpenemrError):
    """`doctor` found what keeps a command from working."""

    exit_code = 9


class NotFinished(GcpOpenemrError):
    """Something is left, which Google holds for a while or which only a person can judge; `do` says when and how."""

    exit_code = 10


class PlanChanged(GcpOpenemrError):
    """The plan to be applied is not the reviewed one."""

    exit_code = 11


class RehearsalFailed(GcpOpenemrError):
    """A rehearsal lost something, or a command of it failed."""

    exit_code = 12


class UsageError(GcpOpenemrError):
    """The command line is wrong."""

    exit_code = 64


class EnvironmentInvalid(GcpOpenemrError):
    """The environment file holds wrong keys or values; `what` lists every problem."""

    exit_code = 65


class InputMissing(GcpOpenemrError):
    """A named file is missing or cannot be read."""

    exit_code = 66


class Unreachable(GcpOpenemrError):
    """The network, a registry or the sandbox does not answer."""

    exit_code = 69


class ToolMissing(GcpOpenemrError):
    """A program is missing or too old."""

    exit_code = 71


class Locked(GcpOpenemrError):
    """Another run holds the environment."""

    exit_code = 75


class NotPermitted(GcpOpenemrError):
    """The operating system refuses; usually root is needed."""

    exit_code = 77


class Interrupted(GcpOpenemrError):
    """Ctrl-C or SIGTERM."""

    exit_code = 130
