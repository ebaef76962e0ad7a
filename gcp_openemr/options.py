"""What was given before the verb, and what every command makes of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gcp_openemr.console import Console

__all__ = ["Options", "yes_too"]

yes_too = click.option("-y", "--yes", is_flag=True, help="Go ahead without being asked.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Of the command line, before the verb."""

    file: Path
    sandbox: bool
    as_json: bool
    yes: bool

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

        return Console(as_json=self.as_json)
