"""The pipelines that `init --ci` writes: golden, checked by linters and schemas, and never over another file.

What they do is shown in tests/rehearsal/test_pipelines.py, where they run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import stat
import subprocess
import sys
import sysconfig
from importlib.metadata import PathDistribution
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from google.auth import identity_pool
from ruamel.yaml import YAML

from gcp_openemr.ci import source
from gcp_openemr.ci.write import BUILD_REQUIREMENTS, REQUIREMENTS
from gcp_openemr.cli import cli
from gcp_openemr.errors import UsageError

GOLDEN = Path(__file__).parent / "golden" / "ci"
KINDS = ("github", "gitlab", "cloudbuild")
SCHEMAS = {"github": "vendor.github-workflows", "gitlab": "vendor.gitlab-ci", "cloudbuild": "vendor.cloudbuild"}
PROFILES = {"prod": "production", "review": "developer"}
PROGRAMS = Path(sysconfig.get_path("scripts"))


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gcp_openemr.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def init(folder: Path, kind: str, name: str) -> dict[str, list[str]]:
    """A new environment file NAME.toml with its pipelines. Returns what the program says of files."""
    where = ("--project", f"my-clinic-{name}", "--region", "europe-west1", "--profile", PROFILES[name])
    pipelines = ("--ci", kind, "--repository", "my-clinic/openemr")
    return well("-e", str(folder / f"{name}.toml"), "init", "--name", name, *where, *pipelines)


def well(*arguments: str) -> dict[str, list[str]]:
    """What a command that goes well says, in this process."""
    done = CliRunner().invoke(cli, ["--json", *arguments])
    assert done.exit_code == 0, done.output
    told: dict[str, list[str]] = json.loads(done.stdout)
    return told


@pytest.fixture(scope="module", params=KINDS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The kind, and a repository with the pipelines of both environments, written from below its top folder."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / ".git").mkdir()
    (folder / "openemr").mkdir()
    for name in PROFILES:
        init(folder / "openemr", request.param, name)
    return request.param, folder


def files(folder: Path) -> dict[str, str]:
    """Everything but the environment files and the libraries."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_text() for name, path in found.items() if not name.endswith((".toml", ".txt"))}


def test_what_is_written_is_what_was_reviewed(written: tuple[str, Path]) -> None:
    kind, folder = written
    made = files(folder)
    if os.environ.get("UPDATE_GOLDEN"):
        for name, text in made.items():
            (GOLDEN / kind / name).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / kind / name).write_text(text)
    assert made == files(GOLDEN / kind), "If it should change: UPDATE_GOLDEN=1 pytest tests/unit/test_ci.py"


def test_actionlint_and_shellcheck_find_nothing_in_githubs(written: tuple[str, Path]) -> None:
    kind, folder = written
    if kind != "github":
        return
    workflows = sorted(map(str, folder.glob(".github/workflows/*.yml")))
    shellcheck = str(PROGRAMS / "shellcheck")
    done = subprocess.run(
        [str(PROGRAMS / "actionlint"), "-shellcheck", shellcheck, "-pyflakes", "", *workflows],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert workflows


def test_each_file_is_as_its_provider_s_schema_says(written: tuple[str, Path]) -> None:
    kind, folder = written
    made = [str(folder / name) for name in files(folder)]
    command = [str(PROGRAMS / "check-jsonschema"), "--builtin-schema", SCHEMAS[kind], *made]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert made


def read(path: Path) -> Any:
    return YAML(typ="safe").load(path)


def scripts(kind: str, folder: Path) -> dict[str, str]:
    """By file and job, what a shell of GitLab or Cloud Build is given."""
    found = {}
    for name in files(folder):
        content = read(folder / name)
        if kind == "cloudbuild":
            (step,) = content["steps"]
            # what Cloud Build fills in is no shell's
            found[name] = re.sub(r"\$\$", "$", step["args"][-1])
        elif name.startswith(".gitlab/"):
            base = next(job for job in content.values() if "before_script" in job)
            for job, one in content.items():
                if "script" in one:
                    found[f"{name} {job}"] = "\n".join([*base["before_script"], *one["script"]])
    return found


def test_shellcheck_finds_nothing_in_the_scripts_of_the_others(written: tuple[str, Path], tmp_path: Path) -> None:
    kind, folder = written
    if kind == "github":
        return  # actionlint calls it
    for where, script in scripts(kind, folder).items():
        (tmp_path / where.replace("/", "_")).write_text(f"set -e\n{script}\n")
    command = [str(PROGRAMS / "shellcheck"), "--shell=bash", *sorted(map(str, tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_job_of_gitlab_signs_in_as_google_s_libraries_read_it(tmp_path: Path) -> None:
    """What stands before each job's own commands, run as its runner would, without what installs."""
    init(tmp_path, "gitlab", "prod")
    base = read(tmp_path / ".gitlab" / "openemr-prod.yml")[".openemr-prod"]
    signing = base["before_script"][base["before_script"].index("umask 077") :]
    assert base["id_tokens"]["OPENEMR_ID_TOKEN"]["aud"] == "https://iam.googleapis.com/$OPENEMR_PROD_PROVIDER"
    given = {
        "OPENEMR_ID_TOKEN": "header.payload.signature",
        "OPENEMR_PROD_PROVIDER": "projects/1/locations/global/workloadIdentityPools/oe-prod-ci/providers/gitlab",
        "OPENEMR_ACCOUNT": "oe-prod-plan@my-clinic-prod.iam.gserviceaccount.com",
        "TMPDIR": str(tmp_path),
    }
    script = "\n".join(["set -eo pipefail", *signing, 'echo "$GOOGLE_APPLICATION_CREDENTIALS"'])
    done = subprocess.run(
        ["bash", "-c", script], env={**os.environ, **given}, capture_output=True, text=True, check=True
    )
    file = Path(done.stdout.strip())
    signed_in = identity_pool.Credentials.from_file(str(file))
    assert signed_in.service_account_email == given["OPENEMR_ACCOUNT"]
    assert signed_in.info["audience"] == f"//iam.googleapis.com/{given['OPENEMR_PROD_PROVIDER']}"
    assert signed_in.retrieve_subject_token(None) == given["OPENEMR_ID_TOKEN"]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_every_action_is_pinned_by_commit_and_tells_its_version(written: tuple[str, Path]) -> None:
    _, folder = written
    for name, text in files(folder).items():
        for use in re.findall(r"uses: (.*)", text):
            assert re.fullmatch(r"[a-z-]+/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", use), (name, use)


def test_programs_are_pinned_and_no_key_is_asked_for(written: tuple[str, Path]) -> None:
    _, folder = written
    libraries, builds = ((folder / name).read_text() for name in (REQUIREMENTS, BUILD_REQUIREMENTS))
    pins = [line for line in (libraries + builds).splitlines() if not line.startswith(("#", " "))]
    assert all("==" in line and line.endswith("\\") for line in pins)
    assert "google-cloud-run==" in libraries
    assert "setuptools==" in builds
    for name, text in files(folder).items():
        if "gcp-openemr -e" in text.replace("anew with: gcp-openemr -e", ""):
            assert "'gcp-openemr==0.1.0'" in text, name
        assert "secrets." not in text, name
        assert "latest" not in text, name


def test_every_command_in_them_is_one_of_the_program(written: tuple[str, Path]) -> None:
    _, folder = written
    seen = set()
    for text in files(folder).values():
        for line in re.findall(r"gcp-openemr (-e .*)", re.sub(r"#.*", "", text)):
            arguments = shlex.split(line.partition("||")[0])
            done = CliRunner().invoke(cli, [*arguments, "--help"])
            assert done.exit_code == 0, (line, done.output)
            seen.add(next(word for word in arguments if word in cli.commands))
    assert {"plan", "deploy", "backup", "destroy"} <= seen


def test_files_that_are_there_stay_until_replaced_in_words(tmp_path: Path) -> None:
    told = init(tmp_path, "github", "prod")
    pipelines = ("-e", str(tmp_path / "prod.toml"), "init", "--ci", "github")
    assert well(*pipelines)["right"] == told["written"]
    changed = tmp_path / ".github" / "workflows" / "openemr-prod-plan.yml"
    changed.write_text("ours\n")
    (tmp_path / ".github" / "workflows" / "openemr-prod-watch.yml").unlink()
    refused = run("-e", "prod.toml", "init", "--ci", "github", cwd=tmp_path)
    assert refused.returncode == 64
    assert "openemr-prod-plan.yml" in refused.stderr
    assert changed.read_text() == "ours\n"
    assert not (tmp_path / ".github" / "workflows" / "openemr-prod-watch.yml").exists()
    assert len(well(*pipelines, "--replace")["written"]) == 2
    assert changed.read_text() != "ours\n"


@pytest.mark.parametrize(
    ("told", "requirement"),
    [
        (None, "gcp-openemr==0.1.0"),
        ({"url": "file:///home/eve/gcp_openemr-0.1.0-py3-none-any.whl", "archive_info": {}}, ""),
        (
            {"url": "https://x.example/y.whl", "archive_info": {"hashes": {"sha256": "ab12"}}},
            "gcp-openemr @ https://x.example/y.whl#sha256=ab12",
        ),
        (
            {"url": "https://x.example/y", "vcs_info": {"vcs": "git", "commit_id": "ab12"}},
            "gcp-openemr @ git+https://x.example/y@ab12",
        ),
    ],
)
def test_a_pipeline_installs_the_copy_that_wrote_it(
    tmp_path: Path, told: dict[str, Any] | None, requirement: str
) -> None:
    (tmp_path / "METADATA").write_text("Metadata-Version: 2.1\nName: gcp-openemr\nVersion: 0.1.0\n")
    if told is not None:
        (tmp_path / "direct_url.json").write_text(json.dumps(told))
    assert source.of(PathDistribution(tmp_path)) == requirement


PROD = ("--name", "prod", "--project", "my-clinic-prod", "--region", "europe-west1")
PIPELINES = ("init", *PROD, "--ci", "github", "--repository", "my-clinic/openemr")


def test_a_copy_that_nobody_else_has_is_told_and_another_can_be_named(tmp_path: Path) -> None:
    file = str(tmp_path / "prod.toml")
    assert "this copy is not from one" in CliRunner().invoke(cli, ["-e", file, *PIPELINES]).stderr
    wheel = "gcp-openemr @ https://x.example/gcp_openemr-0.1.0-py3-none-any.whl#sha256=ab12"
    well("-e", file, "init", "--ci", "github", "--package", wheel, "--replace")
    text = (tmp_path / ".github" / "workflows" / "openemr-prod-destroy.yml").read_text()
    assert f"pip install --quiet --no-deps '{wheel}'" in text
    assert f"init --ci github --replace --package '{wheel}'" in text


@pytest.mark.parametrize(
    ("file", "package", "words"),
    [
        ("our clinic.toml", "gcp-openemr", "our clinic.toml"),
        ("prod.toml", "x'; rm -rf /; '", "pip could be told"),
        ("prod.toml", "gcp-openemr #", "pip could be told"),
    ],
)
def test_what_a_shell_would_misunderstand_is_refused(tmp_path: Path, file: str, package: str, words: str) -> None:
    done = CliRunner().invoke(cli, ["-e", str(tmp_path / file), *PIPELINES, "--package", package])
    assert isinstance(done.exception, UsageError)
    assert words in done.exception.what
    assert not (tmp_path / ".github").exists()


def test_an_environment_for_review_ends_without_those_who_approve_other_ends(tmp_path: Path) -> None:
    init(tmp_path, "github", "review")
    workflows = tmp_path / ".github" / "workflows"
    assert read(workflows / "openemr-review-expire.yml")["jobs"]["destroy"]["environment"] == "review-end"
    init(tmp_path, "github", "prod")
    assert read(workflows / "openemr-prod-destroy.yml")["jobs"]["destroy"]["environment"] == "destroy"


def test_gitlabs_own_file_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / ".gitlab-ci.yml").write_text("stages: [test]\n")
    init(tmp_path, "gitlab", "prod")
    assert (tmp_path / ".gitlab-ci.yml").read_text() == "stages: [test]\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--name", "prod", "--project", "my-clinic-prod", "--region", "europe-west1"), "--repository"),
        (("--name", "prod"), "--project"),
    ],
)
def test_what_is_missing_is_told_and_nothing_is_written(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run("init", *arguments, "--ci", "github", cwd=tmp_path)
    assert done.returncode == 64
    assert words in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_provider_is_told(tmp_path: Path) -> None:
    init(tmp_path, "gitlab", "prod")
    done = run("-e", "prod.toml", "init", "--ci", "github", cwd=tmp_path)
    assert done.returncode == 64
    assert "[ci]" in done.stderr
    assert not (tmp_path / ".github").exists()
