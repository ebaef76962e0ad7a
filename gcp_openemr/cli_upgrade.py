"""The verb that brings clinics to another OpenEMR."""

from __future__ import annotations

import click

from gcp_openemr.options import Options, yes_too

__all__ = ["upgrade"]


@click.command()
@yes_too
@click.option("--to", metavar="VERSION", help="The version that the environment file names already.")
@click.option("--rehearse", is_flag=True, help="On a copy of the newest state, beside the clinic; it stays as it is.")
@click.option("--back", is_flag=True, help="Go back to the set from before the upgrade, under the old version.")
@click.option("--clinic", metavar="NAME", help="Only this clinic. With -y, --back wants it named.")
@click.option(
    "--drain",
    type=click.IntRange(0, 600),
    default=65,
    show_default=True,
    help="Seconds that the maintenance page stands before data is changed: all instances must have seen it.",
)
@click.option("--without-set", is_flag=True, help="With --back: make no set of the present state first.")
@click.pass_obj
def upgrade(
    options: Options,
    yes: bool,
    to: str | None,
    rehearse: bool,
    back: bool,
    clinic: str | None,
    drain: int,
    without_set: bool,
) -> None:
    """Bring clinics to another version of OpenEMR, or back.

    Makes a backup set, runs OpenEMR's own upgrade under a maintenance page, and sends the traffic to the new version
    when it is healthy. Interrupted, the same command continues.
    """
    from gcp_openemr.commands import upgrade as commands
    from gcp_openemr.commands import upgrade_back

    if back == (to is not None) or (back and rehearse):
        raise click.UsageError("Say --to VERSION, with --rehearse or not, or --back.")
    context = options.context(needs_terraform=True, yes=yes)
    if to is None:
        upgrade_back.back(context, clinic=clinic, drain=drain, set_first=not without_set)
    elif rehearse:
        commands.rehearse(context, to=to, clinic=clinic)
    else:
        commands.upgrade(context, to=to, clinic=clinic, drain=drain)
