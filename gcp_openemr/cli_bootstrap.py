"""The verb that an administrator runs before a pipeline can."""

from __future__ import annotations

import click

from gcp_openemr.options import Options, yes_too

__all__ = ["bootstrap"]


@click.command()
@yes_too
@click.pass_obj
def bootstrap(options: Options, yes: bool) -> None:
    """Make the foundation and a pipeline's identities.

    State bucket, APIs, backup bucket, registry, audit log; with [ci] in the environment file also the planner, deployer
    and destroyer, and what lets the pipeline's jobs take them without a key. Prints what to paste into its settings. To
    be run by an administrator, again whenever [ci] or the clinics change.
    """
    from gcp_openemr.commands.bootstrap import bootstrap as run

    run(options.context(needs_terraform=True, yes=yes))
