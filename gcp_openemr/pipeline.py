"""The runner that a pipeline's step runs on, and what it makes of our output: groups, annotations, masks, a summary.

GitHub: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
GitLab: https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

__all__ = ["Pipeline"]

Kind = Literal["", "plain", "github", "gitlab"]
_ESCAPES = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_COMMAND = re.compile(r"^(\s*)(::|##\[)", re.MULTILINE)
_RED, _PLAIN, _ERASE = "\x1b[31m", "\x1b[0m", "\r\x1b[0K"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pipeline:
    """`kind` is '' where no pipeline runs, plain for a runner of which nothing more is known.

    `summary` is a file to which Markdown is added: what a person wants to know who does not read the log.
    """

    kind: Kind = ""
    summary: Path | None = None

    @classmethod
    def of(cls, environment: Mapping[str, str], *, summary: Path | None = None) -> Pipeline:
        """The runner that this environment tells of; GitHub names a summary of its own."""
        if environment.get("GITHUB_ACTIONS") == "true":
            named = environment.get("GITHUB_STEP_SUMMARY", "")
            return cls(kind="github", summary=summary or (Path(named) if named else None))
        if environment.get("GITLAB_CI") == "true":
            return cls(kind="gitlab", summary=summary)
        return cls(kind="plain" if environment.get("CI") in ("true", "1") else "", summary=summary)

    @property
    def masks(self) -> bool:
        """Whether a secret can be kept out of the log once it has to be printed; without a pipeline there is none."""
        return self.kind in ("", "github")

    def group(self, title: str, lines: Sequence[str]) -> list[str]:
        """Lines that belong together, folded away under their title where the runner can."""
        told = [self.harmless(line) for line in lines]
        if self.kind == "github":
            return [f"::group::{_escaped(title)}", *told, "::endgroup::"]
        if self.kind == "gitlab":
            now = int(time.time())
            name = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")
            begin = f"section_start:{now}:{name}[collapsed=true]{_ERASE}{title}"
            return [begin, *told, f"section_end:{now}:{name}{_ERASE}"]
        return [title, *told]

    def error(self, what: str, do: str) -> str:
        """A failure as the runner shows it beside the log; '' where it shows none."""
        if self.kind == "github":
            told = _escaped(f"{what}\n{do}".strip())
            return f"::error title=gcp-openemr::{told}"
        return ""

    def failed(self, text: str) -> str:
        """The line of a failure in the log."""
        return f"{_RED}{text}{_PLAIN}" if self.kind == "gitlab" else self.harmless(text)

    def mask(self, secret: str) -> list[str]:
        """What makes the runner replace a secret by stars from here on."""
        return [f"::add-mask::{_escaped(secret)}"] if self.kind == "github" else []

    def harmless(self, text: str) -> str:
        """Text from elsewhere, such as Google's, is not to be taken for a command to the runner."""
        return _COMMAND.sub(lambda found: f"{found[1]} {' '.join(found[2])}", text) if self.kind == "github" else text

    def summarise(self, title: str, markdown: str) -> None:
        """Add a section to the summary, if one is wanted."""
        if self.summary is not None:
            with self.summary.open("a", encoding="utf-8") as file:
                file.write(f"### {title}\n\n{markdown.strip()}\n\n")


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(sign, sign) for sign in text)
