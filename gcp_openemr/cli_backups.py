"""The verbs that make, check and restore backups."""

from __future__ import annotations

import click

from gcp_openemr.options import Options, yes_too

__all__ = ["backup", "recover", "restore"]

_clinic = click.option("--clinic", metavar="NAME", help="Only this clinic.")


@click.group()
def backup() -> None:
    """Make, list, verify and try backup sets."""


@backup.command("create")
@_clinic
@click.pass_obj
def create(options: Options, clinic: str | None) -> None:
    """Make a set of database and files now, and check it."""
    from gcp_openemr.commands import backup as commands

    commands.create(options.context(), clinic=clinic)


@backup.command("list")
@_clinic
@click.pass_obj
def listing(options: Options, clinic: str | None) -> None:
    """Show the sets: when, how large, which OpenEMR, when read back.

    Cloud SQL's own backups of the database stand beside them.
    """
    from gcp_openemr.commands import backup as commands

    commands.listing(options.context(), clinic=clinic)


def _share(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if value != "all" and not (value.isascii() and value.isdigit() and int(value[:4]) <= 100):
        raise click.BadParameter("write 0 to 100, or all")
    return value


@backup.command("verify")
@_clinic
@click.option("--set", "wanted", metavar="SET", help="Only this set: its id, latest, or a time.")
@click.option(
    "--data", default="5", show_default=True, callback=_share, metavar="PERCENT|all", help="How much data is read."
)
@click.pass_obj
def verify(options: Options, clinic: str | None, wanted: str | None, data: str) -> None:
    """Read back a part of the sets' data, or all of it, and check."""
    from gcp_openemr.commands import backup as commands

    commands.verify(options.context(), clinic=clinic, wanted=wanted, data=data)


@backup.command("drill")
@_clinic
@click.pass_obj
def drill(options: Options, clinic: str | None) -> None:
    """Restore the newest set beside the clinic, and compare."""
    from gcp_openemr.commands import backup as commands

    commands.drill(options.context(), clinic=clinic)


@click.command()
@yes_too
@click.option(
    "--from",
    "wanted",
    metavar="WHAT",
    help="latest, a set's id, a time (UTC; the last set begun by then), gs://BUCKET/OBJECT or drive:ID.",
)
@click.option(
    "--point-in-time",
    "exact",
    is_flag=True,
    help="The database of just that time, by a copy of the Cloud SQL instance; the files of the nearest set.",
)
@click.option("--undo", is_flag=True, help="Go back to what the clinic held before its last restore.")
@click.option("--clinic", metavar="NAME", help="Which clinic. With -y it has to be named.")
@click.option(
    "--drain",
    type=click.IntRange(0, 600),
    default=65,
    show_default=True,
    help="Seconds that the maintenance page stands before data is swapped: all instances must have seen it.",
)
@click.option("--without-set", is_flag=True, help="Make no set of the present state: for a clinic too broken for it.")
@click.pass_obj
def restore(
    options: Options,
    yes: bool,
    wanted: str | None,
    exact: bool,
    undo: bool,
    clinic: str | None,
    drain: int,
    without_set: bool,
) -> None:
    """Put a backup in the place of a clinic's data, which is kept."""
    from gcp_openemr.commands import restore as commands

    if undo == (wanted is not None):
        raise click.UsageError("Say --from WHAT, or --undo.")
    if exact and undo:
        raise click.UsageError("--point-in-time is for --from TIME.")
    context = options.context(yes=yes)
    if wanted is None:
        commands.undo(context, clinic=clinic, drain=drain, set_first=not without_set)
    else:
        commands.restore(context, clinic=clinic, wanted=wanted, drain=drain, set_first=not without_set, exact=exact)


@click.command()
@yes_too
@click.option("--from-bucket", "bucket", required=True, metavar="BUCKET", help="The old environment's backup bucket.")
@click.option("--from-clinic", "old", default="main", show_default=True, metavar="NAME", help="The clinic there.")
@click.option("--password", metavar="SECRET", help="projects/P/secrets/S; found by the bucket's name otherwise.")
@click.option(
    "--set", "wanted", default="latest", show_default=True, metavar="SET", help="latest, an id, or a time (UTC)."
)
@click.option("--clinic", metavar="NAME", help="Which clinic of the environment file, where there are several.")
@click.option("--upgrade", is_flag=True, help="Take a set of an older OpenEMR, and upgrade it.")
@click.pass_obj
def recover(
    options: Options,
    yes: bool,
    bucket: str,
    old: str,
    password: str | None,
    wanted: str,
    clinic: str | None,
    upgrade: bool,
) -> None:
    """Deploy a new environment from another one's backups.

    The old one is only read, and can be deleted afterwards.
    """
    from gcp_openemr.commands import recover as commands

    where = commands.Old.of(bucket, old, password)
    commands.recover(
        options.context(needs_terraform=True, yes=yes), where, clinic=clinic, wanted=wanted, upgrade=upgrade
    )
