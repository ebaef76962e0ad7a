"""The pipelines that `gcp-openemr init --ci` writes: templates laid out, decided here.

GitHub's actions are pinned by commit in the templates; the programs' versions are pinned here.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from gcp_openemr import __version__
from gcp_openemr.environment import Environment
from gcp_openemr.errors import UsageError

__all__ = ["BUILD_REQUIREMENTS", "REQUIREMENTS", "WORKFLOWS", "Written", "pipelines", "write"]

REQUIREMENTS = "openemr-requirements.txt"
BUILD_REQUIREMENTS = "openemr-build-requirements.txt"
PYTHON = "3.12"
TERRAFORM = "1.11.4"
# What YAML, a shell and the address of a file take as it stands.
_PATH = re.compile(r"[A-Za-z0-9_./-]+")
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.:/@+~#%=!<>\[\]&?,-]*")
_NIGHTLY, _WEEKLY = "17 3 * * *", "47 4 * * 0"
WORKFLOWS = {True: ("try", "expire", "destroy"), False: ("plan", "deploy", "watch", "destroy")}
"""GitHub's workflows of an environment for review, which the developer profile makes, and of one that stays."""
_BUILDS = {True: ("deploy", "expire", "destroy"), False: ("plan", "drift", "deploy", "drill", "destroy")}
"""The same of Cloud Build's configurations."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Build:
    """One configuration of Cloud Build, whose triggers say when it runs and who approves.

    `asked` is what its trigger is to say: a substitution, which reaches the script as a variable.
    """

    title: str
    account: str
    script: tuple[str, ...]
    seconds: int
    asked: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """Paths below the repository's folder: new or changed files, and those that were right already."""

    written: tuple[str, ...]
    right: tuple[str, ...]


def pipelines(environment: Environment, kind: str, *, file: str, package: str = "") -> dict[str, str]:
    """The files of the pipelines of `kind` github, gitlab or cloudbuild, by their path in the repository.

    `file` is the environment file's path there; `package` is what pip is told to install as gcp-openemr.

    Raises:
        UsageError: the environment file has no section `[ci]`; a path or a package is not for a shell.
    """
    package = package or f"gcp-openemr=={__version__}"
    _check(file, package)
    ci = environment.ci
    if ci is None or ci.provider != kind:
        raise UsageError(
            f"{file} says nothing of {kind}: its section [ci] is missing or names another.",
            do=f'Add to it: [ci] with provider = "{kind}" and repository = "OWNER/NAME"; then run this again.',
        )
    values = {
        "name": environment.name,
        "project": environment.project,
        "file": file,
        "branch": ci.branch,
        "environment": ci.environment,
        "destroy_environment": ci.destroy_environment,
        "variables": f"OPENEMR_{environment.name.upper()}",
        "review": environment.profile == "developer",
        "package": package,
        "again": "" if package == f"gcp-openemr=={__version__}" else f" --package '{package}'",
        "version": __version__,
        "build_requirements": BUILD_REQUIREMENTS,
        "requirements": REQUIREMENTS,
        "python": PYTHON,
        "terraform": TERRAFORM,
        "nightly": _NIGHTLY,
        "weekly": _WEEKLY,
    }
    made = {"github": _github, "gitlab": _gitlab, "cloudbuild": _cloudbuild}[kind](environment, values)
    return {**dict(made), BUILD_REQUIREMENTS: _locked("build"), REQUIREMENTS: _locked("runtime")}


def write(files: Mapping[str, str], repository: Path, *, replace: bool) -> Written:
    """Write them below `repository`; all or none, and over another content only with `replace`.

    Raises:
        UsageError: files exist with another content.
    """
    there = {name: repository / name for name in files if (repository / name).exists()}
    right = {name for name, path in there.items() if path.is_file() and path.read_text("utf-8") == files[name]}
    other = sorted(there.keys() - right)
    if other and not replace:
        raise UsageError(
            f"These exist already, with another content, and are left as they are: {', '.join(other)}.",
            do="Add --replace to write them anew; nothing was written.",
        )
    for name in files.keys() - right:
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[name], "utf-8")
    return Written(written=tuple(sorted(files.keys() - right)), right=tuple(sorted(right)))


def _check(file: str, package: str) -> None:
    if not _PATH.fullmatch(file):
        raise UsageError(
            f"The environment file's path, {file}, does not do for a pipeline's scripts.",
            do="Take letters, digits, . _ and - for the file and the folders it is in.",
        )
    if not _PACKAGE.fullmatch(package) or re.search(r"\s#|:\s", package):
        raise UsageError(
            f"{package!r} is nothing that pip could be told to install.",
            do="Write e.g. --package 'gcp-openemr @ https://HOST/gcp_openemr-VERSION-py3-none-any.whl#sha256=HASH'.",
        )


def _github(_environment: Environment, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    prefix = f".github/workflows/openemr-{values['name']}"
    paths = [values["file"], values["requirements"], f"{prefix}-*.yml"]
    for workflow in WORKFLOWS[values["review"]]:
        yield f"{prefix}-{workflow}.yml", _filled(f"github/{workflow}.yml.j2", {**values, "paths": paths})


def _gitlab(_environment: Environment, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    name = f".gitlab/openemr-{values['name']}.yml"
    paths = [values["file"], values["requirements"], name]
    yield name, _filled("gitlab/pipeline.yml.j2", {**values, "paths": paths})


def _cloudbuild(environment: Environment, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    builds = _builds(environment, f"gcp-openemr -e {values['file']}")
    for task in _BUILDS[values["review"]]:
        build = builds[task]
        asked = {
            "env": ["CI=true", *([f"{build.asked}=$_{build.asked}"] if build.asked else [])],
            "substitutions": {f"_{build.asked}": ""} if build.asked else {},
        }
        yield (
            f"cloudbuild/openemr-{values['name']}-{task}.yaml",
            _filled("cloudbuild/build.yaml.j2", {**values, **dataclasses.asdict(build), **asked}),
        )


def _builds(environment: Environment, program: str) -> dict[str, _Build]:
    """By task. Cloud Build fills in what begins with one dollar itself; the shell's have two."""
    name, names = environment.name, environment.names
    expires = (
        "expires=$$(date --utc --date='+3 days' +%F)",
        """export GCP_OPENEMR_ENVIRONMENT_LABELS='{"expires": "'"$$expires"'"}'""",
    )
    return {
        "plan": _Build(
            title=f"For a trigger on pull requests: what a merge would change in {name}.",
            account=names.planner_account,
            script=(f"{program} --timeout 25 plan || test $$? -eq 2",),
            seconds=1800,
        ),
        "drift": _Build(
            title=f"For a nightly trigger: fails with status 2 where {name} is not what its file says.",
            account=names.planner_account,
            script=(f"exec {program} --timeout 25 plan",),
            seconds=1800,
        ),
        "deploy": _Build(
            title=f"For a trigger on the branch that requires approval: deploys {name}.",
            account=names.deployer_account,
            script=(
                *(expires if environment.profile == "developer" else ()),
                f"exec {program} --timeout 170 deploy -y",
            ),
            seconds=10800,
        ),
        "drill": _Build(
            title=f"For a weekly trigger: restores the newest backup set of {name} for a trial.",
            account=names.deployer_account,
            script=(f"exec {program} --timeout 340 backup drill",),
            seconds=21600,
        ),
        "expire": _Build(
            title=f"For a nightly trigger: destroys {name} when its time is over.",
            account=names.destroyer_account,
            script=(
                f"exec {program} --timeout 340 destroy -y --environment {name} --expired --keep-foundation --wait 3h",
            ),
            seconds=21600,
        ),
        "destroy": _Build(
            title=f"For a manual trigger that requires approval: takes {name} down; _NAME is the environment's name.",
            account=names.destroyer_account,
            script=(f'exec {program} --timeout 340 destroy -y --environment "$$NAME" --keep-foundation --wait 3h',),
            seconds=21600,
            asked="NAME",
        ),
    }


def _locked(lock: str) -> str:
    """Packages, each pinned with the hashes of its files. One has no wheel: those of `build` make it into one."""
    folder = resources.files("gcp_openemr.setup").joinpath("requirements")
    return (
        f"# What gcp-openemr {__version__} was tested with.\n"
        + folder.joinpath(f"{lock}.txt").read_text("utf-8").rstrip("\n")
        + "\n"
    )


def _filled(template: str, values: Mapping[str, Any]) -> str:
    engine = jinja2.Environment(  # noqa: S701 - YAML, not HTML; what is filled in is checked by the environment file
        loader=jinja2.PackageLoader("gcp_openemr", "ci"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        block_start_string="[%",
        block_end_string="%]",
        variable_start_string="[[",
        variable_end_string="]]",
        comment_start_string="[#",
        comment_end_string="#]",
    )
    return engine.get_template(template).render(values)
