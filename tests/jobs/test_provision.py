"""What provision tells of a server that is not as the others."""

from __future__ import annotations

from typing import Any, NoReturn, cast

import pytest

from jobs import database, provision
from jobs.errors import DatabaseRefused


def test_a_server_without_dual_passwords_is_said_to_have_no_rotation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*_: Any) -> NoReturn:
        error = DatabaseRefused("MySQL refused 'GRANT APPLICATION_PASSWORD_ADMIN' …")
        error.number = 3530
        raise error

    monkeypatch.setattr(database, "run", refused)
    assert not provision._grant_dual_passwords(cast("database.Connection", None), "oe_main")
    assert "this database password cannot be rotated" in capsys.readouterr().out
