"""The verb that plays an environment's whole life."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from gcp_openemr.errors import RehearsalFailed
from gcp_openemr.options import Options

__all__ = ["rehearse"]


@click.command()
@click.option("--faults", "seed", type=click.IntRange(0), metavar="SEED", help="Bad days befall it, drawn by SEED.")
@click.option("--junit", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="JUnit's XML, for CI.")
@click.option("--to", metavar="VERSION", help="Upgrade the clinics to this OpenEMR on the way.")
@click.pass_obj
def rehearse(options: Options, seed: int | None, junit: Path | None, to: str | None) -> None:
    """Play the environment's whole life in a sandbox of its own.

    Deploy, write, back up, rotate, restore, recover, destroy: each act proves that nothing was lost, and nothing is
    left afterwards. Needs no account. Exit code 12 when something is lost.
    """
    from gcp_openemr.commands.rehearse import rehearse as run

    if not run(options.file, options.console(), seed=seed, junit=junit, to=to):
        sys.exit(RehearsalFailed.exit_code)
