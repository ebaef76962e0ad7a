"""Arguments → environment → one command; the only place that catches errors and exits.

Nothing but click is imported before a command runs, so `--help` answers at once.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from gcp_openemr import ending
from gcp_openemr.cli_backups import backup as backup_verbs
from gcp_openemr.cli_backups import recover, restore
from gcp_openemr.cli_bootstrap import bootstrap
from gcp_openemr.cli_destroy import destroy
from gcp_openemr.cli_rehearse import rehearse
from gcp_openemr.cli_rotate import rotate
from gcp_openemr.cli_sandbox import sandbox as sandbox_verbs
from gcp_openemr.cli_status import logs, status
from gcp_openemr.cli_upgrade import upgrade
from gcp_openemr.errors import FaultsFound, Interrupted
from gcp_openemr.options import Options, impersonation, yes_too
from gcp_openemr.pipeline import Pipeline

if TYPE_CHECKING:
    from gcp_openemr.clients import Cloud

__all__ = ["main"]

EXIT_CODES = """\b
Exit codes:
  0    well                           66   a file is missing or unreadable
  1    a defect of this program       69   network or sandbox does not answer
  2    plan: there are changes        71   a program is missing or too old
  3    would lose data, refused       75   another run holds the lock: try later
  4    Terraform failed               77   not permitted (root, credentials)
  5    a job failed                   130  interrupted; run again to continue
  6    a clinic is not healthy
  7    Google refused a call          64   the command line is wrong
  8    the image build failed         65   the environment file is wrong
  9    doctor: something to mend
  10   not finished: come back later
  11   the plan is not the one that was reviewed
  12   rehearse: something was lost
"""


def _version(ctx: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from gcp_openemr.release import release

        click.echo(f"gcp-openemr {release()}")
        ctx.exit()


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EXIT_CODES
    + """
\b
A first look, without a Google account:
  gcp-openemr init --name demo --project demo-clinic-1 --region europe-west1
  gcp-openemr --sandbox deploy -y
  gcp-openemr --sandbox credentials
""",
)
@click.option(
    "-e",
    "--env-file",
    "file",
    type=click.Path(path_type=Path),
    default=Path("openemr.toml"),
    show_default=True,
    help="The environment file.",
)
@click.option("--sandbox", is_flag=True, help="Rehearse in the Google Cloud embedded on this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print exactly one JSON object on stdout.")
@click.option("-y", "--yes", is_flag=True, help="Go ahead without being asked.")
@impersonation
@click.option(
    "--summary",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Add a summary in Markdown to this file; on GitHub's runners to the step's own.",
)
@click.option(
    "--timeout", type=click.FloatRange(0, min_open=True), metavar="MINUTES", help="Stop in order after so many minutes."
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Say which this is."
)
@click.pass_context
def cli(
    ctx: click.Context,
    file: Path,
    sandbox: bool,
    as_json: bool,
    yes: bool,
    impersonate: str,
    summary: Path | None,
    timeout: float | None,
) -> None:
    """OpenEMR on Google Cloud, from one command: deploy it, look after it, take it down."""
    pipeline = Pipeline.of(os.environ, summary=summary)
    ending.show(as_json=as_json, pipeline=pipeline)
    if timeout is not None:
        ending.limit(timeout)
    ctx.obj = Options(file=file, sandbox=sandbox, as_json=as_json, yes=yes, pipeline=pipeline, impersonate=impersonate)


@cli.command()
@click.option("--name", help="Name of the environment: 2-10 letters and digits.")
@click.option("--project", help="Google Cloud project.")
@click.option("--region", help="Region, such as europe-west1.")
@click.option("--profile", type=click.Choice(["production", "developer"]), default="developer", show_default=True)
@click.option("--ci", "kind", type=click.Choice(["github", "gitlab", "cloudbuild"]), help="Write its pipelines, too.")
@click.option("--repository", metavar="OWNER/NAME", help="With --ci: where the pipelines run.")
@click.option("--package", metavar="REQUIREMENT", help="With --ci: what pip installs there as gcp-openemr.")
@click.option("--replace", is_flag=True, help="With --ci: write pipelines anew over others.")
@click.pass_obj
def init(
    options: Options,
    name: str | None,
    project: str | None,
    region: str | None,
    profile: str,
    kind: str | None,
    repository: str | None,
    package: str | None,
    replace: bool,
) -> None:
    """Write an environment file, and pipelines that deploy it.

    The file has comments. Pipelines alone where it is there already.
    """
    from gcp_openemr.commands import init as commands

    if kind is None or not options.file.exists():
        given = {"name": name, "project": project, "region": region, "profile": profile}
        values = {option: value for option, value in given.items() if value is not None}
        if missing := [option for option in given if option not in values]:
            raise click.UsageError(f"Missing: {', '.join(f'--{option}' for option in missing)}.")
        commands.environment_file(options.file, values, ci=kind, repository=repository)
    commands.finish(options.file, options.console(), ci=kind, package=package or "", replace=replace)


@cli.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder for the three roots.")
@click.pass_obj
def render(options: Options, output: Path) -> None:
    """Write the Terraform working directories.

    To read, or to apply by hand. Needs no network.
    """
    from gcp_openemr.commands.render import render_all

    render_all(options.environment(), output, options.console())


@cli.command()
@click.option(
    "--for",
    "verbs",
    multiple=True,
    default=("deploy",),
    show_default=True,
    type=click.Choice(
        (
            *("plan", "deploy", "backup", "restore", "point-in-time", "recover", "rotate", "upgrade", "destroy"),
            *("destroy-foundation", "status", "logs"),
        )
    ),
    help="What you want to run: its permissions must be there.",
)
@click.pass_obj
def doctor(options: Options, verbs: tuple[str, ...]) -> None:
    """Look for what would keep a command from working.

    Machine, credentials, project, permissions, names, and the health of what is deployed; changes nothing. Exit code 9
    when there is something to mend.
    """
    from gcp_openemr.commands.doctor import doctor as run

    console = options.console()

    def connect(project: str) -> Cloud:
        return options.cloud(project, console)

    if not run(options.file, connect, console, workspace=options.workspace, verbs=verbs):
        sys.exit(FaultsFound.exit_code)


@cli.command()
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write it down for deploy --plan: no values."
)
@click.pass_obj
def plan(options: Options, out: Path | None) -> None:
    """Show what deploy would change.

    And what that interrupts, how long it takes, what was changed by hand. Exit code 2 when there is something.
    """
    from gcp_openemr.commands.plan import plan as run

    if run(options.context(needs_terraform=True), out=out):
        sys.exit(2)


@cli.command()
@yes_too
@click.option("--allow-data-loss", multiple=True, metavar="ADDRESS", help="Let the plan destroy this resource.")
@click.option("--upgrade", is_flag=True, help="Take a new clinic's backup of an older OpenEMR, and upgrade it.")
@click.option("--rebuild", is_flag=True, help="Build the image again: its packages may have got fixes.")
@click.option(
    "--openemr-tree",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Sandbox: a built OpenEMR to serve.",
)
@click.option(
    "--plan",
    "planned",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Do what this file of plan --out says, or nothing: exit code 11 when something has changed since.",
)
@click.pass_obj
def deploy(
    options: Options,
    yes: bool,
    allow_data_loss: tuple[str, ...],
    upgrade: bool,
    rebuild: bool,
    openemr_tree: Path | None,
    planned: Path | None,
) -> None:
    """Deploy, change or repair the environment.

    Brings it to what its file says and waits until every clinic is healthy. Without a change it changes nothing.
    """
    from gcp_openemr.commands.deploy import deploy as run

    if openemr_tree is not None and not options.sandbox:
        raise click.UsageError("--openemr-tree is for the sandbox: put --sandbox before deploy.")
    if planned is not None and rebuild:
        raise click.UsageError("--plan and --rebuild exclude each other: nobody could review the new image.")
    if planned is not None and upgrade:
        raise click.UsageError(
            "--plan and --upgrade exclude each other: what the upgrade needs on its way is in no plan."
        )
    context = options.context(needs_terraform=True, yes=yes, openemr_tree=openemr_tree, planned=planned)
    run(context, allow_data_loss=allow_data_loss, rebuild=rebuild, upgrade=upgrade)


@cli.command()
@click.option("--clinic", help="Which clinic, where there are several.")
@click.pass_obj
def credentials(options: Options, clinic: str | None) -> None:
    """Print the administrator's name and password."""
    from gcp_openemr.commands.status import credentials as run

    run(options.context(), clinic=clinic)


cli.add_command(backup_verbs)
cli.add_command(bootstrap)
cli.add_command(restore)
cli.add_command(recover)
cli.add_command(destroy)
cli.add_command(upgrade)
cli.add_command(rotate)
cli.add_command(status)
cli.add_command(logs)
cli.add_command(rehearse)
cli.add_command(sandbox_verbs)


def main() -> NoReturn:
    """The program `gcp-openemr`."""
    ending.listen()
    ending.show(as_json="--json" in sys.argv[1:], pipeline=Pipeline.of(os.environ))
    try:
        cli.main(prog_name="gcp-openemr", standalone_mode=False)
        code = 0
    except click.exceptions.Exit as leaving:
        code = leaving.exit_code
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        command = context.command_path if context is not None else "gcp-openemr"
        code = ending.fail(error.format_message(), f"See: {command} --help", 64)
    except (KeyboardInterrupt, click.Abort, Interrupted):
        code = ending.interrupted()
    except Exception as error:
        code = ending.unexpected(error)
    sys.exit(code)


if __name__ == "__main__":
    main()
