"""The verbs that look at what is deployed."""

from __future__ import annotations

import sys

import click

from gcp_openemr.errors import Unhealthy
from gcp_openemr.options import Options

__all__ = ["logs", "status"]

_clinic = click.option("--clinic", metavar="NAME", help="Only this clinic.")


@click.command()
@_clinic
@click.pass_obj
def status(options: Options, clinic: str | None) -> None:
    """Show whether the clinics are healthy.

    With address, revision, traffic and secret versions. Exit code 6 when one is not healthy.
    """
    from gcp_openemr.commands.status import status as run

    if not run(options.context(), clinic=clinic):
        sys.exit(Unhealthy.exit_code)


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
