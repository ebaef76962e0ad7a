"""The embedded Google Cloud: start, stop, reset, status, and the way in."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from google.auth.transport.requests import Request
from google.oauth2.credentials import Credentials

from gcp_openemr.clients import Cloud
from gcp_openemr.console import Console
from gcp_openemr.credentials import NOT_TERRAFORM_S, acting_as, of_federation
from gcp_openemr.errors import UsageError
from gcp_openemr.sandbox import control
from gcp_openemr.sandbox.control import SandboxInfo
from gcp_openemr.sandbox.provider import warm
from gcp_openemr.sandbox.provider.mirror import write_mirror

__all__ = ["connect", "reset", "start", "status", "stop"]


def connect(
    directory: Path, console: Console, *, project: str, openemr_tree: Path | None = None, impersonate: str = ""
) -> Cloud:
    """The sandbox as a cloud; started first where it does not run. Says once what in it is real.

    The caller is the owner of every project, or who a federation's file of this very sandbox says, and from there on
    `impersonate`, where an account is given.
    """
    info = control.status(directory)
    if info is None:
        with console.step("sandbox: start"):
            info = control.start(directory, openemr_tree=openemr_tree)
        console.say(_notice(info))
    elif openemr_tree is not None and info.openemr_tree != openemr_tree.resolve():
        raise UsageError(
            "The sandbox runs already, with another application.", do="Stop it first: gcp-openemr sandbox stop"
        )
    token = _token(info, impersonate)
    environment = write_mirror(directory, python=sys.executable, url=info.url)
    return Cloud(
        project=project,
        credentials=Credentials(token=token, id_token=token),
        base=info.url,
        terraform_environment={
            **NOT_TERRAFORM_S,
            **environment,
            **warm.listen(),
            "GOOGLE_OAUTH_ACCESS_TOKEN": token,
            "GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT": f"{info.url}/storage/v1/",
            "GOOGLE_STORAGE_CUSTOM_ENDPOINT": f"{info.url}/storage/v1/",
        },
    )


def _token(info: SandboxInfo, impersonate: str) -> str:
    """Good for an hour; the owner's own, for as long as the sandbox is there."""
    credentials: Any = Credentials(token=info.token.reveal())
    credentials = of_federation(os.environ, info.url) or credentials
    if impersonate:
        credentials = acting_as(credentials, impersonate, base=info.url)
    if not credentials.valid:
        credentials.refresh(Request())
    return str(credentials.token)


def start(directory: Path, console: Console, *, port: int | None, openemr_tree: Path | None) -> None:
    with console.step("sandbox: start"):
        info = control.start(directory, openemr_tree=openemr_tree, port=port)
    console.result(
        _values(info), f"The sandbox answers at {info.url}.\n{_notice(info)}\nStop it: gcp-openemr sandbox stop"
    )


def stop(directory: Path, console: Console) -> None:
    with console.step("sandbox: stop"):
        was_running = control.stop(directory)
    console.result(
        {"running": False, "was_running": was_running},
        "The sandbox is stopped; what it holds stays on disk." if was_running else "The sandbox was not running.",
    )


def reset(directory: Path, console: Console, *, yes: bool) -> None:
    """Raises UsageError when not agreed to."""
    if not yes and not (console.asks and console.confirm("Delete everything the sandbox holds?")):
        raise UsageError("Nothing was deleted.", do="Add -y to go ahead without being asked.")
    with console.step("sandbox: reset"):
        control.reset(directory)
    console.result({"running": False, "reset": True}, "The sandbox is empty.")


def status(directory: Path, console: Console) -> bool:
    """Say where it answers and what each of its checks is worth. Returns whether it runs."""
    from gcp_openemr.sandbox import checks  # reads the whole API server, which no other command does

    info = control.status(directory)
    claims = checks.rows()
    values: dict[str, object] = {"running": False} if info is None else _values(info)
    said = "The sandbox is not running. Start it: gcp-openemr sandbox start"
    if info is not None:
        said = f"The sandbox answers at {info.url}.\n{_notice(info)}"
    console.result({**values, "checks": checks.as_values(claims)}, f"{said}\n\n{checks.for_people(claims)}")
    return info is not None


def _values(info: SandboxInfo) -> dict[str, object]:
    return {
        "running": True,
        "url": info.url,
        "pid": info.pid,
        "real": list(info.real),
        "stands_in": list(info.stands_in),
    }


def _notice(info: SandboxInfo) -> str:
    return f"  Real here:  {'; '.join(info.real)}.\n  Stands in:  {'; '.join(info.stands_in)}."
