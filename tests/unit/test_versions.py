"""The table of OpenEMR's lines: what each is built from, and when it is no longer mended."""

from __future__ import annotations

import datetime
import re

import pytest

from gcp_openemr.environment import versions
from gcp_openemr.environment.versions import LINES, OpenEmrLine


@pytest.mark.parametrize("line", LINES.values(), ids=LINES)
def test_a_line_is_built_from_a_branch_and_a_base_by_digest(line: OpenEmrLine) -> None:
    assert re.fullmatch(r"alpine:3\.[0-9]+@sha256:[0-9a-f]{64}", line.build_arguments["BASE"])
    assert line.ref == "rel-" + line.version.replace(".", "")
    assert re.fullmatch(r"8[0-9]", line.build_arguments["PHP"])
    assert line.base.source


def test_support_ends_with_the_bases_last_day(monkeypatch: pytest.MonkeyPatch) -> None:
    line = LINES["8.4.0"]
    monkeypatch.setattr(versions, "_today", lambda: line.base.supported_until)
    assert not line.end_of_support
    monkeypatch.setattr(versions, "_today", lambda: line.base.supported_until + datetime.timedelta(days=1))
    assert line.end_of_support_reason == "Alpine 3.22 has had no fixes since May 2027"


def test_what_7_0_4_lacks_is_said_whole() -> None:
    assert LINES["7.0.4"].end_of_support_reason == (
        "OpenEMR 7.0.4 is older than the security releases of March 2026, "
        "and Alpine 3.20 has had no fixes since April 2026"
    )
