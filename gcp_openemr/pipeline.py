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
# The runner takes the older form for a command wherever in a line it stands (src/Runner.Common/ActionCommand.cs).
_COMMAND = re.compile(r"^(\s*)(::)|(##)\[", re.MULTILINE)
_LONGEST = 60_000  # characters; GitHub takes 65,536 in a comment
_RED, _PLAIN, _ERASE = "\x1b[31m", "\x1b[0m", "\r\x1b[0K"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pipeline:
    """`kind` is '' where no pipeline runs, plain for a runner of which nothing more is known.

    `summaries` are files to which Markdown is added: what a person wants to know who does not read the log.
    """

    kind: Kind = ""
    summaries: tuple[Path, ...] = ()

    @classmethod
    def of(cls, environment: Mapping[str, str], *, summary: Path | None = None) -> Pipeline:
        """The runner that this environment tells of; GitHub names a summary of its own."""
        wanted = (summary,) if summary is not None else ()
        if environment.get("GITHUB_ACTIONS") == "true":
            own = environment.get("GITHUB_STEP_SUMMARY", "")
            return cls(kind="github", summaries=(*wanted, Path(own)) if own else wanted)
        if environment.get("GITLAB_CI") == "true":
            return cls(kind="gitlab", summaries=wanted)
        return cls(kind="plain" if environment.get("CI") in ("true", "1") else "", summaries=wanted)

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
        if self.kind != "github":
            return text
        return _COMMAND.sub(lambda found: "## [" if found[3] else f"{found[1]} : :", text)

    def harmless_json(self, text: str) -> str:
        """The same for JSON, whose values stay what they are."""
        return text.replace("##[", "##\\u005b") if self.kind == "github" else text

    def summarise(self, title: str, text: str) -> None:
        """Add a section of text, not longer than a comment may be, to the summaries that are wanted."""
        told = text.strip().replace("~~~", "~ ~ ~")
        if len(told) > _LONGEST:
            told = f"{told[:_LONGEST]}\n… and {len(told) - _LONGEST} characters more in the log"
        for summary in self.summaries:
            with summary.open("a", encoding="utf-8") as file:
                file.write(f"### {title}\n\n~~~text\n{told}\n~~~\n\n")


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(sign, sign) for sign in text)
