"""Redaction, passwords, and the door to other programs."""

from __future__ import annotations

import json
import pickle
import sys

import pytest

from gcp_openemr.errors import ToolMissing
from gcp_openemr.passwords import LENGTH, new_password
from gcp_openemr.process import ProgramFailed, run
from gcp_openemr.redacted import Redacted


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Redacted("hunter2")
    assert [str(secret), repr(secret), f"{secret}", f"{secret:>20}", "%s" % secret] == ["[redacted]"] * 5  # noqa: UP031
    assert secret.reveal() == "hunter2"
    assert secret == Redacted("hunter2") != Redacted("other")


def test_a_secret_is_not_written_out() -> None:
    with pytest.raises(TypeError):
        json.dumps({"password": Redacted("hunter2")})
    with pytest.raises(TypeError):
        pickle.dumps(Redacted("hunter2"))


def test_passwords_satisfy_the_rules_and_differ() -> None:
    made = {new_password().reveal() for _ in range(200)}
    assert len(made) == 200
    for text in made:
        assert len(text) == LENGTH
        assert any(c.islower() for c in text)
        assert any(c.isupper() for c in text)
        assert any(c.isdigit() for c in text)
        assert not text.isalnum()
        assert not set(text) & set("'\"\\$`= %")


def test_a_program_gets_its_input_and_gives_its_output() -> None:
    done = run([sys.executable, "-c", "import sys; print(sys.stdin.read().upper())"], stdin="abc")
    assert done.stdout == "ABC\n"


def test_a_failing_program_is_told_with_its_words() -> None:
    with pytest.raises(ProgramFailed, match="ended with status 3: no luck"):
        run([sys.executable, "-c", "import sys; print('no luck', file=sys.stderr); sys.exit(3)"])


def test_a_missing_program_is_told_with_what_to_do() -> None:
    with pytest.raises(ToolMissing, match="no-such-program is not installed") as caught:
        run(["no-such-program"])
    assert "Install it" in caught.value.do


def test_a_program_that_does_not_end_is_ended() -> None:
    with pytest.raises(ProgramFailed, match="did not end within"):
        run([sys.executable, "-c", "import time; time.sleep(30)"], timeout=0.2)
