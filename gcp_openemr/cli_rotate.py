"""The verb that changes passwords."""

from __future__ import annotations

import sys

import click

from gcp_openemr.errors import FaultsFound
from gcp_openemr.options import Options, yes_too

__all__ = ["rotate"]

_KINDS = ("database", "admin", "redis", "backup")


@click.command()
@yes_too
@click.argument("what", nargs=-1, type=click.Choice([*_KINDS, "all"]), metavar="[database|admin|redis|backup|all]...")
@click.option("--clinic", metavar="NAME", help="Only this clinic.")
@click.option("--now", is_flag=True, help="For an incident: the old passwords end first. Requests fail meanwhile.")
@click.option("--force", is_flag=True, help="Also replace an administrator's password that a person has set.")
@click.option(
    "--status", "show", is_flag=True, help="Only show versions, ages, and what is half-way or changed by hand."
)
@click.option(
    "--drain",
    type=click.IntRange(0, 3600),
    metavar="SECONDS",
    help="How long requests of the old revision may last. [default: the service's timeout]",
)
@click.pass_obj
def rotate(
    options: Options,
    yes: bool,
    what: tuple[str, ...],
    clinic: str | None,
    now: bool,
    force: bool,
    show: bool,
    drain: int | None,
) -> None:
    """Change passwords while people work.

    Without a name, all of them. A rotation that was interrupted is finished or undone first. --status exits with 9
    when there is something to do.
    """
    from gcp_openemr.commands import rotate as commands

    if show:
        if not commands.ages(options.context(), clinic=clinic):
            sys.exit(FaultsFound.exit_code)
        return
    kinds = _KINDS if not what or "all" in what else what
    commands.rotate(options.context(yes=yes), what=kinds, clinic=clinic, now=now, force=force, drain=drain)
