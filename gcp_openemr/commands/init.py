"""Init: the environment file, and the pipelines that deploy it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gcp_openemr import __version__
from gcp_openemr.ci import source
from gcp_openemr.ci import write as ci_files
from gcp_openemr.console import Console
from gcp_openemr.environment import load_environment, write_environment_file
from gcp_openemr.errors import UsageError

__all__ = ["environment_file", "finish"]


def environment_file(file: Path, values: Mapping[str, str], *, ci: str | None, repository: str | None) -> None:
    """Write a new file from name, project, region and profile; with `ci`, its section `[ci]` for `repository`.

    Raises:
        UsageError: a value is wrong, the file exists, or pipelines are wanted of no repository.
    """
    section: dict[str, str] = {}
    if ci is not None:
        if not repository:
            raise UsageError("Pipelines belong to a repository, and none is named.", do="Add --repository OWNER/NAME.")
        section = {"provider": ci, "repository": repository}
        if ci != "cloudbuild":
            section["environment"] = values["name"]
        if values["profile"] == "developer":
            # Its end comes by itself, so it must not wait for those who approve the end of others.
            section["destroy_environment"] = f"{values['name']}-end"
    write_environment_file(
        file,
        name=values["name"],
        project=values["project"],
        region=values["region"],
        profile=values["profile"],
        ci=section,
    )


def finish(file: Path, console: Console, *, ci: str | None, package: str, replace: bool) -> None:
    """Write the pipelines, where `ci` names a kind, into the repository around `file`; tell what there is now.

    Raises:
        UsageError: pipelines exist with another content, and not `replace`; or the file has no section `[ci]`.
    """
    if ci is None:
        next_step = "Look through it, then run: gcp-openemr plan"
        console.result({"file": str(file)}, f"{file} is written. {next_step}")
        return
    repository = _repository(file)
    package = package or source.requirement()
    if not package:
        console.warn(
            f"A pipeline will ask its package index for gcp-openemr {__version__}, and this copy is not from one. "
            "To have it take this one: --package with the address of a wheel that it can reach."
        )
    made = ci_files.pipelines(
        load_environment(file), ci, file=file.absolute().relative_to(repository).as_posix(), package=package
    )
    done = ci_files.write(made, repository, replace=replace)
    if ci == "gitlab":
        _include(repository, next(name for name in made if name.startswith(".gitlab/")), console)
    lines = [*(f"written: {name}" for name in done.written), *(f"right already: {name}" for name in done.right)]
    console.result(
        {"file": str(file), "written": list(done.written), "right": list(done.right)},
        "\n".join([*lines, "Commit them; what else a pipeline needs, and in which order: docs/ci.md"]),
    )


def _repository(file: Path) -> Path:
    """The checkout around the file, or its folder."""
    folder = file.absolute().parent
    return next((above for above in (folder, *folder.parents) if (above / ".git").exists()), folder)


def _include(repository: Path, name: str, console: Console) -> None:
    """GitLab reads one file; it has to include ours."""
    main = repository / ".gitlab-ci.yml"
    line = f"  - local: {name}\n"
    if not main.exists():
        main.write_text(f"include:\n{line}", "utf-8")
    elif name not in main.read_text("utf-8"):
        console.warn(f"{main} is left as it is. Add to its include:\n{line.rstrip()}")
