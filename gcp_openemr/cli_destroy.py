"""The verb that takes an environment, or one clinic of it, down."""

from __future__ import annotations

import re
import shlex
import sys

import click

from gcp_openemr.options import Options, yes_too

__all__ = ["destroy"]

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def _seconds(_context: click.Context, _option: click.Parameter, value: str) -> float:
    found = _DURATION.fullmatch(value)
    if not value or found is None:
        raise click.BadParameter("write a duration such as 2h, 90m, 1h30m or 0s")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 3600.0 + minutes * 60.0 + seconds


@click.command()
@yes_too
@click.option("--environment", "named", metavar="NAME", help="With -y: the environment's name, typed out.")
@click.option("--clinic", metavar="NAME", help="Only this clinic; the others and the platform are not touched.")
@click.option(
    "--without-final-backup", is_flag=True, help="Take no last backup set: what is newer than the last one is lost."
)
@click.option(
    "--foundation",
    metavar="NAME",
    help="Remove backup sets, their passwords, images, audit logs and Terraform's state too: the name typed again.",
)
@click.option(
    "--keep-foundation", is_flag=True, help="Of a developer environment, where the foundation goes too otherwise."
)
@click.option(
    "--wait",
    default="10m",
    show_default=True,
    metavar="DURATION",
    callback=_seconds,
    help="How long to wait for what Google holds: 2h, 30m, 0s. After that, exit code 10.",
)
@click.option(
    "--expired", is_flag=True, help="Only when the day is over that the label expires of what is deployed names."
)
@click.pass_obj
def destroy(
    options: Options,
    yes: bool,
    named: str | None,
    clinic: str | None,
    without_final_backup: bool,
    foundation: str | None,
    keep_foundation: bool,
    wait: float,
    expired: bool,
) -> None:
    """Take every clinic and the platform down, or one clinic.

    It shows what goes and what stays, and asks for the environment's name. A last backup set of each clinic is made
    and checked first; sets, images, audit logs and Terraform's state stay. It ends by asking Google what is left.

    The developer profile asks for no ceremony: no last set, and nothing stays.

    Exit code 10: Google holds something for a while; the same command later goes on. --wait 3h sits it out.
    """
    from gcp_openemr.commands import lifetime
    from gcp_openemr.commands.destroy import Wish
    from gcp_openemr.commands.destroy import destroy as run

    if clinic and (foundation or keep_foundation):
        raise click.UsageError("A clinic has no foundation of its own: leave --foundation away, or --clinic.")
    if foundation and keep_foundation:
        raise click.UsageError("Say --foundation or --keep-foundation.")
    wish = Wish(
        named=named,
        clinic=clinic,
        final_backup=not without_final_backup,
        foundation=foundation,
        keep_foundation=keep_foundation,
        wait=wait,
        again=f"gcp-openemr {shlex.join(sys.argv[1:])}",
    )
    context = options.context(needs_terraform=True, yes=yes)
    if expired and not lifetime.is_over(context):
        return
    run(context, wish)
