"""The verbs of `gcp-openemr sandbox`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from gcp_openemr.options import Options, yes_too

__all__ = ["sandbox"]


@click.group()
def sandbox() -> None:
    """Look after the embedded Google Cloud."""


@sandbox.command("start")
@click.option("--port", type=click.IntRange(1024, 65535), help="Port of the API; a free one by default.")
@click.option(
    "--openemr-tree", type=click.Path(path_type=Path, exists=True, file_okay=False), help="A built OpenEMR to serve."
)
@click.pass_obj
def start(options: Options, port: int | None, openemr_tree: Path | None) -> None:
    """Start it, with everything that ran when it was stopped."""
    from gcp_openemr.commands import sandbox as commands

    commands.start(options.sandbox_directory, options.console(), port=port, openemr_tree=openemr_tree)


@sandbox.command("stop")
@click.pass_obj
def stop(options: Options) -> None:
    """Stop it and everything it runs. What it holds stays on disk."""
    from gcp_openemr.commands import sandbox as commands

    commands.stop(options.sandbox_directory, options.console())


@sandbox.command("reset")
@yes_too
@click.pass_obj
def reset(options: Options, yes: bool) -> None:
    """Stop it and delete everything it holds."""
    from gcp_openemr.commands import sandbox as commands

    commands.reset(options.sandbox_directory, options.console(), yes=options.yes or yes)


@sandbox.command("status")
@click.pass_obj
def status(options: Options) -> None:
    """Say whether and where it runs, and what in it is real.

    Also what stands in, and what each check is worth. Exit code 69 when it does not run.
    """
    from gcp_openemr.commands import sandbox as commands

    if not commands.status(options.sandbox_directory, options.console()):
        sys.exit(69)


@sandbox.command("calls")
@click.option("--since", type=click.IntRange(0), default=0, metavar="N", help="Only calls after number N.")
@click.option("--who", default="", help="Only callers whose name has this in it.")
@click.option("--method", default="", help="Only API methods whose id has this in it.")
@click.option("--follow", is_flag=True, help="Go on until Ctrl-C; with --json one object a line.")
@click.pass_obj
def calls(options: Options, since: int, who: str, method: str, follow: bool) -> None:
    """Show what was called: who, what, when, and how it ended."""
    from gcp_openemr.commands import steering

    steering.calls(options.sandbox_directory, options.console(), since=since, who=who, method=method, follow=follow)


@sandbox.command("settings")
@click.argument("changes", nargs=-1, metavar="[NAME=VALUE]...")
@click.pass_obj
def settings(options: Options, changes: tuple[str, ...]) -> None:
    """Show or change how slow and unforgiving it is.

    latency=1 is as slow as Google, 0 is off.
    """
    from gcp_openemr.commands import steering

    steering.settings(options.sandbox_directory, options.console(), changes)


@sandbox.command("disturb")
@click.argument("kind", type=click.Choice(["database", "redis", "share"]))
@click.argument("name")
@click.argument("condition", type=click.Choice(["stopped", "slow", "full", "well"]))
@click.pass_obj
def disturb(options: Options, kind: str, name: str, condition: str) -> None:
    """Bring a server into a bad condition, and back with `well`."""
    from gcp_openemr.commands import steering

    steering.disturb(options.sandbox_directory, options.console(), kind, name, condition)


@sandbox.group("faults")
def faults() -> None:
    """Let calls go wrong on request."""


@faults.command("list")
@click.pass_obj
def faults_list(options: Options) -> None:
    """Show the faults in force, and how often each has struck."""
    from gcp_openemr.commands import steering

    steering.list_faults(options.sandbox_directory, options.console())


@faults.command("add")
@click.argument("effect", type=click.Choice(["status", "drop", "delay", "truncate", "kill", "operation"]))
@click.option("--method", help="API method, such as run.projects.locations.*; a glob.")
@click.option("--path", help="Path of the call; a glob.")
@click.option("--caller", help="Who calls, such as serviceAccount:*; a glob.")
@click.option("--nth", type=click.IntRange(1), help="Only the n-th call that matches.")
@click.option("--every", type=click.IntRange(1), help="Every k-th.")
@click.option("--probability", type=click.FloatRange(0, 1), help="Each with this chance, by --seed.")
@click.option("--seed", type=click.IntRange(0), help="Makes chance repeatable.")
@click.option("--times", type=click.IntRange(1), help="No more after so many.")
@click.option("--after", is_flag=True, default=None, help="Let the call take effect first.")
@click.option("--status", type=int, help="status: the answer's; 503 by default.")
@click.option("--refusal", help="status: a refusal of the list in docs/sandbox.md, such as drive.download-quota.")
@click.option("--seconds", type=click.FloatRange(0), help="delay: how long.")
@click.option("--bytes", type=click.IntRange(0), help="truncate: so much of the body is sent.")
@click.pass_obj
def faults_add(options: Options, /, effect: str, **fields: Any) -> None:
    """Let calls fail.

    \b
    status     an error answer: 403, 408, 429, 500, 502, 503, 504
    drop       the connection ends; with --after the answer is lost, the work done
    delay      the answer waits
    truncate   the answer's body ends early
    kill       the calling process is killed
    operation  the long-running operation that the call starts fails
    """
    from gcp_openemr.commands import steering

    wanted = {name: value for name, value in fields.items() if value is not None}
    steering.add_fault(options.sandbox_directory, options.console(), effect, wanted)


@faults.command("clear")
@click.argument("fault", default="")
@click.pass_obj
def faults_clear(options: Options, fault: str) -> None:
    """End one fault, or all."""
    from gcp_openemr.commands import steering

    steering.clear_faults(options.sandbox_directory, options.console(), fault)
