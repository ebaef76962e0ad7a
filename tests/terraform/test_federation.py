"""Which jobs of GitLab the pool lets in, and as whom, by what the golden plan says of them.

GitHub's are let in by a sandbox in tests/rehearsal/test_identities.py.
"""

from __future__ import annotations

import json

import pytest

from gcp_openemr.sandbox.api.conditions import mapped
from tests.terraform.test_golden_plans import PLANS

PROVIDER = "module.ci[0].google_iam_workload_identity_pool_provider.default[0]"
DEPLOYS, DESTROYS = "branch/stable:production", "branch/stable:teardown"
ON_STABLE = {
    "project_path": "clinic/systems/openemr",
    "project_id": "4711",
    "pipeline_source": "push",
    "ref_type": "branch",
    "ref": "stable",
    "sub": "project_path:clinic/systems/openemr:ref_type:branch:ref:stable",
}


@pytest.mark.parametrize(
    ("claims", "place"),
    [
        ({"environment": "production"}, DEPLOYS),
        ({"environment": "teardown", "pipeline_source": "schedule"}, DESTROYS),
        ({}, "branch/stable:"),
        ({"environment": "production", "ref": "mine"}, "branch/mine:production"),
        ({"environment": "production", "ref_type": "tag"}, "tag/stable:production"),
        ({"environment": "production", "pipeline_source": "merge_request_event"}, "merge_request/stable:production"),
        ({"environment": "production", "project_path": "stranger/openemr"}, None),
        ({"environment": "production", "project_id": "4712"}, None),
    ],
)
def test_a_job_is_let_in_by_project_branch_and_environment(claims: dict[str, str], place: str | None) -> None:
    provider = json.loads((PLANS / "every-option.json").read_text())["foundation"]["values"][PROVIDER]
    job = {**ON_STABLE, **claims}
    let_in = mapped(provider["attribute_condition"], job)
    assert (mapped(provider["attribute_mapping"]["attribute.place"], job) if let_in else None) == place
