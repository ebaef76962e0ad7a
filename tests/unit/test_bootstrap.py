"""What bootstrap tells people to paste into a pipeline's settings, and to do there."""

from __future__ import annotations

import pytest

from gcp_openemr.commands.bootstrap import settings, told
from gcp_openemr.environment.load import parse_environment
from gcp_openemr.needed import ROLES
from tests.rehearsal.place import environment_file

POOL = "projects/1/locations/global/workloadIdentityPools/oe-test-ci/providers"
BUCKETS = {"state_bucket": "states", "backup_bucket": "backups", "registry": "images"}
REPOSITORY = 'repository = "my-clinic/openemr"'


def spoken(provider: str, *lines: str) -> tuple[dict[str, str], str]:
    text = "\n".join([f'[ci]\nprovider = "{provider}"', REPOSITORY, *lines])
    environment = parse_environment(environment_file(text), file="openemr.toml", overrides={})
    accounts = {name: f"oe-test-{name}@p.iam.gserviceaccount.com" for name in ROLES}
    made = {"provider": "" if provider == "cloudbuild" else f"{POOL}/{provider}", "accounts": accounts, "runs": {}}
    outputs = {**BUCKETS, "ci": made}
    return settings(environment, outputs), told(environment, outputs)


@pytest.mark.parametrize(
    ("provider", "where", "who"),
    [
        ("github", "Settings → Secrets and variables → Actions → Variables", "runs of branch main in environment prod"),
        ("gitlab", "GitLab: Settings → CI/CD → Variables", "runs of branch main in environment prod"),
        ("cloudbuild", "one trigger for each account", "taken by the trigger that runs as it"),
    ],
)
def test_each_setting_is_a_line_and_each_identity_says_what_it_is_for(provider: str, where: str, who: str) -> None:
    pasted, text = spoken(provider, *(['environment = "prod"'] if provider != "cloudbuild" else []))
    assert set(pasted) >= {"OPENEMR_TEST_PLANNER", "OPENEMR_TEST_DEPLOYER", "OPENEMR_TEST_DESTROYER"}
    assert ("OPENEMR_TEST_PROVIDER" in pasted) == (provider != "cloudbuild")
    assert {f"  {name}={value}" for name, value in pasted.items()} <= set(text.splitlines())
    assert where in text
    assert who in text
    for name, role in ROLES.items():
        assert f"{name:9}  {role.purpose}" in text


def test_a_repository_without_its_number_is_asked_for_it() -> None:
    _, asked = spoken("github")
    assert "gh api repos/my-clinic/openemr --jq .id" in asked
    _, known = spoken("github", 'repository_id = "4711"')
    assert "gh api" not in known


def test_without_a_pipeline_nothing_is_to_be_pasted() -> None:
    environment = parse_environment(environment_file(), file="openemr.toml", overrides={})
    assert settings(environment, BUCKETS) == {}
    assert "write [ci] into the environment file" in told(environment, BUCKETS)
