"""The environment file that `gcp-openemr init` writes."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from gcp_openemr.environment.load import parse_environment
from gcp_openemr.environment.profiles import PROFILES, Profile, of_profile
from gcp_openemr.environment.versions import LINES
from gcp_openemr.errors import EnvironmentInvalid, NotPermitted, UsageError

__all__ = ["sample_backup_uri", "write_environment_file"]

_VERSION = "7.0.4"
_RESTORE = """
# Empty storage is filled from this backup, once.
[restore]
source = "gcs"
uri = {uri}
"""
_NO_RESTORE = """
# To fill empty storage from a backup, once (.zip, .tar.gz, .tar.zst or OpenEMR's own): remove these signs.
# From Google Drive: source = "drive", and as uri the file's id.
# [restore]
# source = "gcs"
# uri = "gs://bucket/backup.zip"
"""


def sample_backup_uri(project: str) -> str:
    """Where the sample environment expects its backup."""
    return f"gs://{project}-samples/backup.zip"


def write_environment_file(
    path: Path,
    *,
    name: str,
    project: str,
    region: str,
    profile: str,
    sandbox_sample: bool = False,
    ci: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a commented environment file to `path`, which must not exist; what is written is valid.

    `sandbox_sample` makes a file for trying out: open to visitors, filled from `sample_backup_uri(project)`.
    `ci` holds values of `[ci]`, which is a comment without any.

    Raises:
        UsageError: the file is there already, its directory is not, or a value is wrong.
        NotPermitted: the operating system refuses to write.
    """
    text = _text(name=name, project=project, region=region, profile=profile, sandbox_sample=sandbox_sample)
    if ci:
        text = _with_ci(text, ci)
    try:
        parse_environment(text, file=str(path), overrides={})
    except EnvironmentInvalid as error:
        raise UsageError(f"These values make no valid file:\n{error.what}", do="Give other values.") from None
    _write_new(path, text)


def _text(*, name: str, project: str, region: str, profile: str, sandbox_sample: bool) -> str:
    known: Profile = next((known for known in PROFILES if known == profile), "production")
    service, database, files = (of_profile(known, section) for section in ("service", "database", "files"))
    line = LINES[_VERSION]
    values: dict[str, object] = {
        "name": name,
        "project": project,
        "region": region,
        "zone": f"{region}-b",
        "profile": profile,
        "version": _VERSION,
        "acknowledge": line.end_of_support,
        "public_access": sandbox_sample,
        **service,
        "tier": database["tier"],
        "availability_type": database["availability_type"],
        "backups": database["backups"],
        "database_disk_size_gb": database["disk_size_gb"],
        "machine_type": files["machine_type"],
        "files_disk_size_gb": files["disk_size_gb"],
        "snapshot_days": files["snapshot_days"],
        **of_profile(known, "audit"),
        **of_profile(known, "backups"),
        "background_scheduled": of_profile(known, "background")["scheduled"],
        "rotation_scheduled": of_profile(known, "rotation")["scheduled"],
    }
    return string.Template(resources.files(__package__).joinpath("template.toml").read_text("utf-8")).substitute(
        {key: _toml(value) for key, value in values.items()},
        end_of_support=line.end_of_support_reason,
        restore=_RESTORE.format(uri=_toml(sample_backup_uri(project))) if sandbox_sample else _NO_RESTORE,
    )


def _with_ci(text: str, ci: Mapping[str, str]) -> str:
    """The section `[ci]`, which is the last, with these values in place of its comments."""
    before, header, section = text.partition("# [ci]\n")
    lines = section.splitlines()
    for key, value in ci.items():
        there = next(number for number, line in enumerate(lines) if line.startswith(f"# {key} = "))
        lines[there] = f"{key} = {_toml(value)}"
    return before + header.removeprefix("# ") + "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    """A text, number or truth as TOML writes it: as JSON does, which however leaves one control character alone."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _write_new(path: Path, text: str) -> None:
    try:
        file = path.open("x", encoding="utf-8")
    except FileExistsError as error:
        do = "Edit it, or name a file that does not exist yet."
        raise UsageError(f"{path} exists already and is left as it is.", do=do) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"There is no directory {path.parent}.", do="Create it first.") from error
    except OSError as error:
        do = "Choose a place where you may write."
        raise NotPermitted(f"{path} cannot be written: {error.strerror}.", do=do) from error
    try:
        with file:
            file.write(text)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise NotPermitted(f"{path} cannot be written: {error.strerror}.", do="Make room on the disk.") from error
