"""Runs checks side by side, each with its own end: one that fails or hangs hides nothing of the others."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Sequence

from google.api_core.exceptions import Forbidden, GoogleAPICallError

from gcp_openemr.clients import translate
from gcp_openemr.doctor.model import Absent, Check, Finding, Level, Subject, failed, not_visible
from gcp_openemr.errors import GcpOpenemrError

__all__ = ["examine", "is_disabled", "said"]

_ASKED = re.compile(r"^(?:GET|POST) \S+: ")


def examine(checks: Sequence[Check], subject: Subject) -> Iterator[tuple[Check, Sequence[Finding]]]:
    """Every check with what it found, in their order; all run at once."""
    began = time.monotonic()
    runs = [_Run(check, subject) for check in checks]
    for check, run in zip(checks, runs, strict=True):
        yield check, run.findings(began + check.seconds)


class _Run:
    """A check on a thread of its own. A daemon: one that hangs must not keep the program from its end."""

    def __init__(self, check: Check, subject: Subject) -> None:
        self._check = check
        self._found: list[Finding] = []
        self._thread = threading.Thread(target=self._run, args=(subject,), daemon=True, name=check.name)
        self._thread.start()

    def findings(self, deadline: float) -> list[Finding]:
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            return [*self._found, not_visible(f"no answer within {self._check.seconds:g} s", do="Run doctor again.")]
        return self._found

    def _run(self, subject: Subject) -> None:
        try:
            for finding in self._check.look(subject):
                self._found.append(finding)  # one by one: what came before an exception counts
        except Exception as error:
            self._found.append(_finding(error, subject.project))


def _finding(error: Exception, project: str) -> Finding:
    if isinstance(error, Absent):
        return Finding(level=Level.SKIPPED, what=str(error))
    if isinstance(error, Forbidden):
        service = is_disabled(error)
        enable = f"Run: gcloud services enable {service} --project={project}"
        do = enable if service else "Ask for the right to see it, or look yourself."
        return not_visible(said(error), do=do)
    known = error if isinstance(error, GcpOpenemrError) else translate(error)
    if isinstance(known, GcpOpenemrError):
        what = said(error) if isinstance(error, GoogleAPICallError) else known.what
        return failed(what, do=known.do) if known is error else not_visible(what, do=known.do)
    return not_visible(f"this check has a defect: {type(error).__name__}: {error}", do="Please report it.")


def said(error: GoogleAPICallError) -> str:
    """Google's own sentence, without the address that was asked."""
    return _ASKED.sub("", str(error.message)).strip()


def is_disabled(error: GoogleAPICallError) -> str:
    """The API that Google refuses to answer for because it is not enabled, or ''."""
    sentence = said(error)
    disabled = error.reason == "SERVICE_DISABLED" or "has not been used in project" in sentence
    found = re.search(r"([a-z]+\.googleapis\.com)", sentence)
    return found[1] if disabled and found else ""
