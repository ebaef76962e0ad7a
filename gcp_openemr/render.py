"""Renders a Terraform root into a working directory that an engineer can run by hand; touches no network.

A template decides only backend, provider and which modules are wired; values travel in terraform.tfvars.json. The
directory keeps what Terraform put into it (.terraform, the lock file, a saved plan). A list of the rendered files,
written before the first of them, lets the next rendering complete one that was killed and take away what no longer
belongs.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import jinja2

from gcp_openemr.assets import asset
from gcp_openemr.errors import GcpOpenemrError, UsageError

__all__ = ["LISTING", "render"]

LISTING = ".rendered.json"
"""Name of the list of rendered files."""

_PARTIAL = ".partial-"
_TEMPLATE = ".j2"
_VALUES = "terraform.tfvars.json"


def render(
    root: str,
    *,
    environment_name: str,
    state_bucket: str,
    state_prefix: str,
    variables: Mapping[str, Any],
    into: Path,
) -> Path:
    """Write root `foundation`, `platform` or `clinic` with the modules it uses into `into`, and return that directory.

    Files that are right already are not touched.

    Raises:
        UsageError: `into` holds Terraform files that were not rendered here.
    """
    templates = asset("terraform")
    wiring = _Wiring(templates)
    context = {
        "environment": environment_name,
        "root": root,
        "state_bucket": state_bucket,
        "state_prefix": state_prefix,
    }
    files = wiring.root(root, context)
    for module in sorted(wiring.modules):
        files |= _module(templates, module)
    files[_VALUES] = json.dumps(variables, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    _settle(into, files)
    return into


@dataclasses.dataclass
class _Wiring:
    """Fills a root's templates, and notes which modules they wire."""

    templates: Path
    modules: set[str] = dataclasses.field(default_factory=set)

    def root(self, name: str, context: Mapping[str, str]) -> dict[str, str]:
        engine = self._engine()
        files = {}
        for source in (self.templates / "terraform.tf.j2", *sorted((self.templates / name).iterdir())):
            text = source.read_text(encoding="utf-8")
            if source.suffix == _TEMPLATE:
                files[source.stem] = engine.from_string(text).render(context)
            elif source.suffix == ".tf":
                files[source.name] = text
        return files

    def use(self, name: str) -> str:
        """Where the rendered root finds module `name`."""
        if not (self.templates / "modules" / name).is_dir():
            raise GcpOpenemrError(f"There is no Terraform module named {name}.")
        self.modules.add(name)
        return f"./modules/{name}"

    def _engine(self) -> jinja2.Environment:
        engine = jinja2.Environment(  # noqa: S701 - HCL, not HTML
            undefined=jinja2.StrictUndefined, trim_blocks=True, keep_trailing_newline=True
        )
        engine.filters["hcl_string"] = _hcl_string
        engine.globals["module"] = self.use
        return engine


def _hcl_string(value: str) -> str:
    """A quoted HCL string that means exactly `value`."""
    return json.dumps(value, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")


def _module(templates: Path, name: str) -> dict[str, str]:
    folder = templates / "modules" / name
    # an installed package has its Python files compiled, those of Terraform modules too
    kept = (file for file in sorted(folder.iterdir()) if file.is_file() and file.suffix != ".md")
    return {f"modules/{name}/{file.name}": file.read_text(encoding="utf-8") for file in kept}


def _settle(directory: Path, files: Mapping[str, str]) -> None:
    """Make `directory` hold exactly `files`, beside what was never rendered."""
    before = _listed(directory)
    if not before:
        _refuse_foreign(directory)
    directory.mkdir(parents=True, exist_ok=True)
    _remove_partial(directory)
    _write(directory / LISTING, _listing(before | set(files)))
    for name, content in files.items():
        _write(directory / name, content)
    for name in sorted(before - set(files)):
        _remove(directory, name)
    _write(directory / LISTING, _listing(files))


def _refuse_foreign(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} is not a directory.", do="Name another directory.")
    foreign = sorted(path.name for path in directory.glob("*.tf"))
    if foreign:
        raise UsageError(
            f"{directory} holds Terraform files that were not rendered here: {', '.join(foreign)}.",
            do="Name an empty directory, or one that was rendered before.",
        )


def _listed(directory: Path) -> set[str]:
    try:
        names = json.loads((directory / LISTING).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return set()
    return {name for name in names if isinstance(name, str) and _is_inside(name)} if isinstance(names, list) else set()


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _listing(names: Iterable[str]) -> str:
    return json.dumps(sorted(names), indent=2) + "\n"


def _write(file: Path, content: str) -> None:
    """Replace `file` at once, if it differs; readable by its owner alone, as values may be nobody else's business."""
    data = content.encode()
    try:
        if file.read_bytes() == data:
            return
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f"{_PARTIAL}{file.name}-", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
        os.replace(name, file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _remove_partial(directory: Path) -> None:
    for folder in (directory, *directory.glob("modules/*")):
        for leftover in folder.glob(f"{_PARTIAL}*"):
            leftover.unlink(missing_ok=True)


def _remove(directory: Path, name: str) -> None:
    file = directory / name
    file.unlink(missing_ok=True)
    for folder in file.parents:
        if folder == directory or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()
