"""The cloud that the conformance cases are put to: the sandbox, or Google itself with `--google-project=ID`.

It was never run against Google yet. There, refusals have no ids, so only status and reason are compared.
"""

from __future__ import annotations

import dataclasses
import json
import re
import string
from collections.abc import Callable
from typing import Any

import pytest

from gcp_openemr.sandbox.api.errors import ApiError
from gcp_openemr.sandbox.api.refusals import REFUSALS
from tests.oidc import Issuer
from tests.sandbox.api.support import REGION, Answer, Cloud

__all__ = ["CASES", "ISSUER", "Answer", "Case", "Target", "case", "check", "rest"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """`call(method, api, path, body)` answers; {p} {l} {n} {b} in a path are project, location, number and bucket.

    `sandbox` is None at Google's; `account` is an identity without rights, `image` one that can be pulled.
    """

    call_raw: Callable[..., Answer]
    project: str
    number: str
    account: str
    image: str
    sandbox: Cloud | None = None

    @property
    def here(self) -> Cloud:
        """The sandbox, for what only it can be asked to do; elsewhere the case is skipped."""
        if self.sandbox is None:
            pytest.skip("only the sandbox can be brought into this state")
        return self.sandbox

    def call(self, method: str, api: str, path: str, body: Any = None, **more: Any) -> Answer:
        if isinstance(body, dict):
            body = json.loads(self.fill(json.dumps(body)))
        return self.call_raw(method, api, self.fill(path), body, **more)

    def fill(self, text: str) -> str:
        project = f"projects/{self.project}"
        values = {"p": project, "l": f"{project}/locations/{REGION}", "n": self.number, "b": f"{self.project}-conf"}
        return re.sub(r"\{([plnb])\}", lambda found: values[found[1]], text).replace("conf-project", self.project)

    def done(self, answer: Answer) -> Answer:
        """The finished operation of an answer; its error as an answer of its own."""
        operation = self.here.wait(answer)
        error = operation["error"]
        assert error is not None, operation
        return Answer(status=0, body={"error": error}, headers={})

    def token(self) -> str:
        """Of the account without rights."""
        return self.here.app.mint_token(self.account)


ISSUER = Issuer("https://issuer.example")
Case = Callable[[Target], Answer]
CASES: dict[str, Case] = {}


def case(refusal: str) -> Callable[[Case], Case]:
    """The function provokes this refusal and returns the answer."""

    def add(function: Case) -> Case:
        assert refusal not in CASES, refusal
        CASES[refusal] = function
        return function

    return add


def rest(refusal: str, method: str, api: str, path: str, body: Any = None, **more: Any) -> None:
    """A case of one call."""
    case(refusal)(lambda target: target.call(method, api, path, body, **more))


def check(refusal: str, answer: Answer, target: Target) -> None:
    """Whether an answer is what the row says. Status 0: an operation's error, which has no HTTP status of its own."""
    row = REFUSALS[refusal]
    wanted = ApiError(row.code, "", status=row.status, reason=row.reason)
    if answer.status:
        assert answer.status == row.code, answer.body
    if isinstance(answer.body, dict) and "errors" in answer.body.get("error", {}):
        error = answer.body["error"]
        assert (error.get("status"), error["errors"][0]["reason"]) == (wanted.status, wanted.reason)
    if target.sandbox is None:
        return
    if isinstance(answer.body, dict) and answer.body:
        assert re.search(_pattern(row.sentence), answer.message, re.DOTALL), answer.message
    if answer.status:
        assert target.sandbox.app.calls.read()[-1].refusal == refusal


def _pattern(sentence: str) -> str:
    """A sentence with anything for its values."""
    parts = string.Formatter().parse(sentence)
    return "".join(re.escape(text) + (".*" if field is not None else "") for text, field, _, _ in parts)
