"""The environment file, read, overridden, validated as a whole."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

from gcp_openemr.environment.environment import Environment
from gcp_openemr.environment.overrides import apply_overrides
from gcp_openemr.environment.positions import line_of_every_key
from gcp_openemr.environment.problems import Problem
from gcp_openemr.environment.resolve import resolve
from gcp_openemr.environment.settings import Settings
from gcp_openemr.environment.shape import rename_earlier_keys
from gcp_openemr.errors import EnvironmentInvalid, InputMissing

__all__ = ["load_environment", "parse_environment"]

_LARGEST_FILE = 64 * 1024
_TOML_LINE = re.compile(r" \(at line (\d+), column \d+\)$")


def load_environment(path: Path, *, overrides: Mapping[str, str] = os.environ) -> Environment:
    """Read the environment file at `path`, with variables `GCP_OPENEMR_…` of `overrides` over its values.

    Raises:
        InputMissing: the file is missing or cannot be read.
        EnvironmentInvalid: it holds wrong keys or values; the error lists every one, by line.
    """
    return parse_environment(_read(path), file=str(path), overrides=overrides)


def parse_environment(text: str, *, file: str, overrides: Mapping[str, str]) -> Environment:
    """The environment that `text` describes; `file` is its name in messages.

    Raises:
        EnvironmentInvalid: as `load_environment`.
    """
    settings = _parse(text, file)
    rename_earlier_keys(settings)
    apply_overrides(settings, overrides)
    environment = resolve(settings)
    if environment is None:
        raise _invalid(settings.problems, file)
    return environment


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except FileNotFoundError as error:
        do = "Run `gcp-openemr init` to write one, or name another with -e FILE."
        raise InputMissing(f"There is no environment file {path}.", do=do) from error
    except IsADirectoryError as error:
        raise InputMissing(f"{path} is a directory.", do="Name the environment file in it with -e FILE.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        do = "Mend its permissions or name another with -e FILE."
        raise InputMissing(f"The environment file {str(path)!r} cannot be read: {reason}.", do=do) from error
    if len(content) > _LARGEST_FILE:
        do = "Name the environment file, as `gcp-openemr init` writes it, with -e FILE."
        raise InputMissing(f"{path} is larger than {_LARGEST_FILE // 1024} KiB: no environment file.", do=do)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = Problem(origin=line, path=(), text="is not UTF-8; save the file in that encoding")
        raise _invalid([problem], str(path)) from None


def _parse(text: str, file: str) -> Settings:
    try:
        values = tomllib.loads(text)
        return Settings(values=values, origins=dict(line_of_every_key(text)))
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        found = _TOML_LINE.search(message)
        line = int(found[1]) if found else text.count("\n") + 1
        said = _TOML_LINE.sub("", message).removesuffix(" (at end of document)")
        problem = Problem(origin=line, path=(), text=f"is not TOML: {said}")
    except ValueError:  # a whole number of thousands of digits
        problem = Problem(origin=1, path=(), text="holds a number that is too large")
    except RecursionError:
        problem = Problem(origin=1, path=(), text="holds values nested too deeply")
    raise _invalid([problem], file) from None


def _invalid(problems: Iterable[Problem], file: str) -> EnvironmentInvalid:
    lines = [problem.line(file) for problem in sorted(problems, key=lambda problem: problem.order)]
    return EnvironmentInvalid("\n".join(lines), do="Correct what is listed and run the same command again.")
