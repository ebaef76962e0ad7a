"""Arguments → environment → one command; the only place that catches errors and exits.

Nothing but click is imported before a command runs, so `--help` answers at once.
"""

from __future__ import annotations

import json
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from gcp_openemr import __version__, interruption
from gcp_openemr.cli_backups import backup as backup_verbs
from gcp_openemr.cli_backups import recover, restore
from gcp_openemr.cli_destroy import destroy
from gcp_openemr.cli_sandbox import sandbox as sandbox_verbs
from gcp_openemr.errors import FaultsFound, GcpOpenemrError, InputMissing, Interrupted, NotPermitted
from gcp_openemr.options import Options, yes_too

if TYPE_CHECKING:
    from types import FrameType

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
"""


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
@click.version_option(__version__, prog_name="gcp-openemr")
@click.pass_context
def cli(ctx: click.Context, file: Path, sandbox: bool, as_json: bool, yes: bool) -> None:
    """OpenEMR on Google Cloud, from one command: deploy it, look after it, take it down."""
    ctx.obj = Options(file=file, sandbox=sandbox, as_json=as_json, yes=yes)


@cli.command()
@click.option("--name", required=True, help="Name of the environment: 2-10 letters and digits.")
@click.option("--project", required=True, help="Google Cloud project.")
@click.option("--region", required=True, help="Region, such as europe-west1.")
@click.option("--profile", type=click.Choice(["production", "developer"]), default="developer", show_default=True)
@click.pass_obj
def init(options: Options, name: str, project: str, region: str, profile: str) -> None:
    """Write a commented environment file."""
    from gcp_openemr.environment import write_environment_file

    write_environment_file(options.file, name=name, project=project, region=region, profile=profile)
    options.console().result(
        {"file": str(options.file)}, f"{options.file} is written. Look through it, then run: gcp-openemr plan"
    )


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
    type=click.Choice(("plan", "deploy", "backup", "restore", "recover", "rotate", "destroy", "destroy-foundation")),
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
@click.pass_obj
def plan(options: Options) -> None:
    """Show what deploy would change. Exit code 2 when there is something."""
    from gcp_openemr.commands.plan import plan as run

    if run(options.context(needs_terraform=True)):
        sys.exit(2)


@cli.command()
@yes_too
@click.option("--allow-data-loss", multiple=True, metavar="ADDRESS", help="Let the plan destroy this resource.")
@click.option("--rebuild", is_flag=True, help="Build the image again: its packages may have got fixes.")
@click.option(
    "--openemr-tree",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Sandbox: a built OpenEMR to serve.",
)
@click.pass_obj
def deploy(
    options: Options, yes: bool, allow_data_loss: tuple[str, ...], rebuild: bool, openemr_tree: Path | None
) -> None:
    """Deploy, change or repair the environment.

    Brings it to what its file says and waits until every clinic is healthy. Without a change it changes nothing.
    """
    from gcp_openemr.commands.deploy import deploy as run

    if openemr_tree is not None and not options.sandbox:
        raise click.UsageError("--openemr-tree is for the sandbox: put --sandbox before deploy.")
    context = options.context(needs_terraform=True, yes=yes, openemr_tree=openemr_tree)
    run(context, allow_data_loss=allow_data_loss, rebuild=rebuild)


@cli.command()
@click.option("--clinic", help="Only this clinic.")
@click.pass_obj
def status(options: Options, clinic: str | None) -> None:
    """Show whether the clinics are healthy.

    With address, revision, traffic and secret versions. Exit code 6 when one is not healthy.
    """
    from gcp_openemr.commands.status import status as run

    if not run(options.context(), clinic=clinic):
        sys.exit(6)


@cli.command()
@click.option("--clinic", help="Which clinic, where there are several.")
@click.pass_obj
def credentials(options: Options, clinic: str | None) -> None:
    """Print the administrator's name and password."""
    from gcp_openemr.commands.status import credentials as run

    run(options.context(), clinic=clinic)


cli.add_command(backup_verbs)
cli.add_command(restore)
cli.add_command(recover)
cli.add_command(destroy)
cli.add_command(sandbox_verbs)


def main() -> NoReturn:
    """The program `gcp-openemr`."""
    signal.signal(signal.SIGINT, _stop)
    signal.signal(signal.SIGTERM, _stop)
    as_json = "--json" in sys.argv[1:]
    try:
        cli.main(standalone_mode=False)
        code = 0
    except click.exceptions.Exit as leaving:
        code = leaving.exit_code
    except click.ClickException as error:
        _fail(error.format_message(), "See: gcp-openemr --help", 64, as_json)
        code = 64
    except (KeyboardInterrupt, click.Abort, Interrupted):
        code = _interrupted(as_json)
    except Exception as error:
        code = _failed(error, as_json)
    sys.exit(code)


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    """Tell every thread, and a running Terraform: it has a session of its own and hears no Ctrl-C."""
    interruption.interrupt()
    running = sys.modules.get("gcp_openemr.terraform")
    if running is not None:
        running.interrupt_running()
    raise KeyboardInterrupt


def _interrupted(as_json: bool) -> int:
    _fail(
        "Interrupted. What was finished stays.",
        "Run the same command again: it continues.",
        Interrupted.exit_code,
        as_json,
    )
    return Interrupted.exit_code


def _failed(error: Exception, as_json: bool) -> int:
    known = error if isinstance(error, GcpOpenemrError) else _understood(error)
    if known is None:
        trace = Path("gcp-openemr-error.log")
        trace.write_text(traceback.format_exc())
        known = GcpOpenemrError(
            f"A defect of this program: {type(error).__name__}: {error}", do=f"Please report it with {trace}."
        )
    _fail(known.what, known.do, known.exit_code, as_json)
    return known.exit_code


def _understood(error: Exception) -> GcpOpenemrError | None:
    """Our error for one of Google's libraries or of the operating system, or None for a defect of ours."""
    from gcp_openemr.clients import translate

    if isinstance(error, PermissionError):
        return NotPermitted(
            f"{error.filename}: {error.strerror}.", do="Choose another place, or get the right to use it."
        )
    if isinstance(error, OSError) and error.filename:
        return InputMissing(f"{error.filename}: {error.strerror}.", do="Choose another place, or make room for it.")
    return translate(error)


def _fail(what: str, do: str, code: int, as_json: bool) -> None:
    print(f"gcp-openemr: {what}" + (f"\n{do}" if do else ""), file=sys.stderr)
    if as_json:
        print(json.dumps({"error": {"what": what, "do": do, "exit_code": code}}))


if __name__ == "__main__":
    main()
