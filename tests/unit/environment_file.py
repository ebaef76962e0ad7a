"""Environment files for tests, made of the sections that matter to one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from gcp_openemr.environment import Environment, load_environment
from gcp_openemr.errors import EnvironmentInvalid

DRIVE_ID = "1aBcDeFgHiJkLmNoPqRsTuVwXyZ012345"
BASE = {
    "environment": 'name = "test"\nproject = "my-clinic-test"\nregion = "europe-west1"\nprofile = "developer"',
}


def text_of(sections: Mapping[str, str]) -> str:
    """A file of `sections`; [environment] is completed with what must be there."""
    own = sections.get("environment", "")
    keys = [line for line in BASE["environment"].splitlines() if f"{line.split()[0]} =" not in own]
    merged = {**sections, "environment": "\n".join([*keys, own])}
    return "\n".join(f"[{name}]\n{body}" for name, body in merged.items())


def load(tmp_path: Path, sections: Mapping[str, str] | None = None, **overrides: str) -> Environment:
    file = tmp_path / "openemr.toml"
    file.write_text(text_of(sections or {}), encoding="utf-8")
    return load_environment(file, overrides=overrides)


def problems(tmp_path: Path, sections: Mapping[str, str]) -> list[str]:
    """Each line of the report without its file name."""
    with pytest.raises(EnvironmentInvalid) as caught:
        load(tmp_path, sections)
    prefix = f"{tmp_path / 'openemr.toml'}:"
    lines = caught.value.what.splitlines()
    assert all(line.startswith(prefix) for line in lines)
    return [line.removeprefix(prefix).partition(": ")[2] for line in lines]
