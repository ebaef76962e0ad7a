"""What was given before the verb, and what every command makes of it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gcp_openemr import ending
from gcp_openemr.pipeline import Pipeline

if TYPE_CHECKING:
    from gcp_openemr.clients import Cloud
    from gcp_openemr.commands.context import Context
    from gcp_openemr.console import Console
    from gcp_openemr.environment import Environment

__all__ = ["Options", "impersonation", "yes_too"]


def _account(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if value and not re.fullmatch(r"[a-z0-9.-]+@[a-z0-9.-]+\.gserviceaccount\.com", value):
        raise click.BadParameter(f"{value!r} is no service account's address: NAME@PROJECT.iam.gserviceaccount.com.")
    return value


impersonation = click.option(
    "--impersonate",
    envvar=["GCP_OPENEMR_IMPERSONATE", "GOOGLE_IMPERSONATE_SERVICE_ACCOUNT"],
    default="",
    metavar="ACCOUNT",
    callback=_account,
    help="Act as this service account, by the credentials found (also: GCP_OPENEMR_IMPERSONATE).",
)

yes_too = click.option("-y", "--yes", is_flag=True, help="Go ahead without being asked.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Of the command line, before the verb."""

    file: Path
    sandbox: bool
    as_json: bool
    yes: bool
    pipeline: Pipeline
    impersonate: str = ""

    @property
    def folder(self) -> Path:
        """What belongs to the environment file, beside it."""
        return self.file.absolute().parent / ".gcp-openemr"

    @property
    def workspace(self) -> Path:
        """Apart for rehearsals: Terraform locks the provider that it met first, and theirs is not Google's."""
        return self.folder / ("rehearsal" if self.sandbox else "google")

    @property
    def sandbox_directory(self) -> Path:
        return self.folder / "sandbox"

    def console(self) -> Console:
        from gcp_openemr.console import Console

        running = click.get_current_context()
        verb = running.command_path.removeprefix(running.find_root().command_path).strip()
        return Console(as_json=self.as_json, pipeline=self.pipeline, title=f"gcp-openemr {verb}")

    def environment(self) -> Environment:
        from gcp_openemr.environment import load_environment

        return load_environment(self.file)

    def context(
        self,
        *,
        needs_terraform: bool = False,
        yes: bool = False,
        openemr_tree: Path | None = None,
        planned: Path | None = None,
    ) -> Context:
        """What a command works with. Raises what reading the file, finding Terraform or connecting raises."""
        from gcp_openemr.commands.context import Context
        from gcp_openemr.reviewed import read
        from gcp_openemr.setup.terraform import locate_terraform

        environment = self.environment()
        reviewed = read(planned) if planned is not None else None
        console = self.console()
        terraform = Path()
        if needs_terraform:
            found = locate_terraform()
            terraform = found.path
            console.say(f"{found.engine} {found.version}")
        return Context(
            environment=environment,
            cloud=self.cloud(environment.project, console, openemr_tree),
            console=console,
            workspace=self.workspace / environment.name,
            terraform=terraform,
            yes=self.yes or yes,
            reviewed=reviewed,
        )

    def cloud(self, project: str, console: Console, openemr_tree: Path | None = None) -> Cloud:
        cloud = self._connected(project, console, openemr_tree)
        ending.caller_is(cloud)
        return cloud

    def _connected(self, project: str, console: Console, openemr_tree: Path | None) -> Cloud:
        if self.sandbox:
            from gcp_openemr.commands.sandbox import connect

            return connect(
                self.sandbox_directory,
                console,
                project=project,
                openemr_tree=openemr_tree,
                impersonate=self.impersonate,
            )
        from gcp_openemr.clients import google_cloud

        return google_cloud(project, impersonate=self.impersonate)
