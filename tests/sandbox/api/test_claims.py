"""What a workload identity provider makes of a token's claims."""

from __future__ import annotations

from typing import Any

import pytest

from gcp_openemr.sandbox.api.conditions import ConditionInvalid, evaluate, mapped

CLAIMS = {"sub": "repo:a/b", "ref": "refs/heads/main", "repository": "a/b", "number": 7}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("assertion.sub", "repo:a/b"),
        ('assertion.ref + ":" + assertion.repository', "refs/heads/main:a/b"),
        ('has(assertion.environment) ? assertion.environment : ""', ""),
        ('has(assertion.ref) ? assertion.ref : ""', "refs/heads/main"),
        ('assertion.repository == "a/b" && assertion.ref != "x"', True),
        ('assertion.ref.startsWith("refs/heads/")', True),
        ('false && assertion.environment == "x"', False),
        ("'constant'", "constant"),
        ("assertion.number", 7),
    ],
)
def test_claims_are_mapped(expression: str, value: Any) -> None:
    assert mapped(expression, CLAIMS) == value


@pytest.mark.parametrize(
    "expression",
    [
        "assertion.environment",
        'assertion.environment == "x"',
        'assertion.ref + assertion.environment == "x"',
        'true && assertion.environment == "x"',
        "assertion.sub + 1",
        "assertion.sub ? 1",
        "has(assertion.sub",
        "resource.name",
    ],
)
def test_a_claim_that_is_missing_or_of_another_type_is_an_error(expression: str) -> None:
    with pytest.raises(ConditionInvalid):
        mapped(expression, CLAIMS)


def test_a_policy_s_condition_knows_no_claims() -> None:
    with pytest.raises(ConditionInvalid):
        evaluate('assertion.sub == "x"', {})
