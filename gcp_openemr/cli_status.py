"""The verbs that look at what is deployed."""

from __future__ import annotations

import sys

import click

from gcp_openemr.errors import Unhealthy
from gcp_openemr.options import Options

__all__ = ["logs", "status"]

_DIFFERS = 2  # as plan's
_clinic = click.option("--clinic", metavar="NAME", help="Only this clinic.")


@click.command()
@_clinic
@click.option("--drift", is_flag=True, help="Ask Terraform too what differs from the environment file.")
@click.pass_obj
def status(options: Options, clinic: str | None, drift: bool) -> None:
    """Show what stands there and how it is.

    Health, versions, traffic, backups, ages of passwords, alerts, and what an interrupted command left. Exit code 6
    when something is not healthy; with --drift 2 when all is, but a deploy would change something.
    """
    from gcp_openemr.commands.status import status as run

    verdict = run(options.context(needs_terraform=drift), clinic=clinic, drift=drift)
    if not verdict.healthy:
        sys.exit(Unhealthy.exit_code)
    if verdict.drifted:
        sys.exit(_DIFFERS)


@click.command()
@_clinic
@click.option("--job", metavar="NAME", help="Only this job: nfs-init, backup, provision …")
@click.option("--since", default="1h", show_default=True, metavar="TIME", help="30m, 2h, 3d, or a moment (UTC).")
@click.option("--follow", is_flag=True, help="Go on until Ctrl-C; with --json one object a line.")
@click.pass_obj
def logs(options: Options, clinic: str | None, job: str | None, since: str, follow: bool) -> None:
    """Show what services and jobs wrote, oldest first."""
    from gcp_openemr.commands.logs import logs as run

    run(options.context(), clinic=clinic, job=job, since=since, follow=follow)
