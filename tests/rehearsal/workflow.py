"""Workflow files of GitHub, and the expressions in them, as far as ours use them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gcp_openemr.setup.python import tree_path

__all__ = ["evaluate", "holds", "read_workflow"]

# every scalar a text, so that the key `on` is no truth
_READ = "import json, sys, yaml; json.dump(yaml.load(sys.stdin, yaml.BaseLoader), sys.stdout)"
_EXPRESSION = re.compile(r"\$\{\{(.*?)\}\}")
_STATUS = re.compile(r"\b(?:success|failure|always|cancelled)\(\)")


def read_workflow(repository: Path, name: str) -> dict[str, Any]:
    """A YAML file of the branch main, read by the library that checkov brings."""
    shown = subprocess.run(["git", "show", f"main:{name}"], cwd=repository, check=True, capture_output=True)
    done = subprocess.run(
        [sys.executable, "-c", _READ],
        input=shown.stdout,
        env={"PYTHONPATH": str(tree_path("checkov"))},
        check=True,
        capture_output=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def evaluate(text: str, context: Mapping[str, Any]) -> str:
    """A text with its expressions filled in."""
    return _EXPRESSION.sub(lambda found: str(_value(found[1].strip(), context, failed=False)), text)


def holds(condition: str, context: Mapping[str, Any], *, failed: bool = False) -> bool:
    """Whether a job or a step runs. Without a word on it, only when nothing has failed."""
    bare = condition.removeprefix("${{").removesuffix("}}").strip()
    if failed and not _STATUS.search(bare):
        return False
    return not bare or bool(_value(bare, context, failed=failed))


def _value(text: str, context: Mapping[str, Any], *, failed: bool) -> Any:
    for sign in ("||", "&&"):
        left, found, right = text.partition(sign)
        if found:
            first = _value(left.strip(), context, failed=failed)
            return first if bool(first) == (sign == "||") else _value(right.strip(), context, failed=failed)
    for sign in ("==", "!="):
        left, found, right = text.partition(sign)
        if found:
            same = _value(left.strip(), context, failed=failed) == _value(right.strip(), context, failed=failed)
            return same == (sign == "==")
    if text.startswith("'"):
        return text.strip("'")
    if _STATUS.fullmatch(text):
        return {"success()": not failed, "failure()": failed, "always()": True, "cancelled()": False}[text]
    value: Any = context
    for part in text.split("."):
        value = value.get(part, "") if isinstance(value, Mapping) else ""
    return value
