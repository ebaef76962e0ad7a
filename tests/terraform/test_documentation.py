"""The READMEs of terraform/ say what the code says."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

import pytest

from gcp_openemr.assets import asset
from tests.terraform.documentation import inputs_and_outputs, profiles, with_section

TERRAFORM = asset("terraform")
MODULES = sorted((TERRAFORM / "modules").iterdir())


def compare(file: Path, wanted: str) -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(wanted)
    assert file.read_text() == wanted, (
        f"{file} is behind the code: UPDATE_GOLDEN=1 pytest tests/terraform/test_documentation.py"
    )


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.name)
def test_a_modules_readme_lists_its_inputs_and_outputs(module: Path) -> None:
    readme = module / "README.md"
    text = readme.read_text()
    assert text.startswith(f"# {module.name}\n\n")
    compare(readme, with_section(text, "inputs and outputs", functools.partial(inputs_and_outputs, module)))


def test_the_profiles_table_is_the_one_in_the_code() -> None:
    readme = TERRAFORM / "README.md"
    compare(readme, with_section(readme.read_text(), "profiles", profiles))


def test_the_readme_names_every_module_and_root() -> None:
    text = (TERRAFORM / "README.md").read_text()
    assert [module.name for module in MODULES if f"`{module.name}`" not in text] == []


@pytest.mark.parametrize("file", sorted(TERRAFORM.rglob("variables.tf")), ids=lambda path: path.parent.name)
def test_variables_and_outputs_stand_in_alphabetical_order(file: Path) -> None:
    for path in (file, file.with_name("outputs.tf")):
        names = re.findall(r'^(?:variable|output) "(\w+)"', path.read_text() if path.exists() else "", re.MULTILINE)
        assert names == sorted(names), path
