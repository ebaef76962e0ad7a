"""From an environment file to a plan: what the orchestrator hands in is what the roots take."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gcp_openemr.environment import Environment
from gcp_openemr.environment.load import parse_environment
from gcp_openemr.image import Images
from gcp_openemr.variables import (
    Foundation,
    Platform,
    SecretVersions,
    clinic_variables,
    foundation_variables,
    platform_variables,
)
from tests.terraform import samples
from tests.terraform.world import Root, resources

IMAGES = Images(service=samples.IMAGE, job=samples.IMAGE)
FOUNDATION = Foundation(
    registry=f"{samples.REGION}-docker.pkg.dev/{samples.PROJECT}/oe-prod",
    build_account=f"oe-prod-build@{samples.PROJECT}.iam.gserviceaccount.com",
    build_bucket=samples.NAMES.build_bucket,
    backup_bucket=samples.NAMES.backup_bucket,
)
FILE = """
[environment]
name = "prod"
project = "example-clinic"
region = "europe-west1"
profile = "{profile}"

[openemr]
version = "7.0.4"
acknowledge_end_of_support = true

[service]
ingress_settings = "internal-and-cloud-load-balancing"
environment_variables = {{ PHP_MEMORY_LIMIT = "256M" }}

[clinics.main]
[clinics.north]
"""


def environment(profile: str) -> Environment:
    return parse_environment(FILE.format(profile=profile), file="openemr.toml", overrides={})


def values(kind: str, profile: str) -> dict[str, Any]:
    wanted = environment(profile)
    if kind == "foundation":
        return foundation_variables(wanted)
    if kind == "platform":
        return platform_variables(wanted, FOUNDATION, images=IMAGES, redis_admin_version=1, protect=wanted.protect)
    return clinic_variables(
        wanted,
        wanted.clinic("north"),
        FOUNDATION,
        Platform(outputs=samples.PLATFORM),
        IMAGES,
        versions=SecretVersions(database_password=1, redis_password=2, admin_password=3),
        serve=True,
        protect=wanted.protect,
    )


@pytest.mark.parametrize("profile", ["production", "developer"])
@pytest.mark.parametrize("kind", ["foundation", "platform", "clinic"])
def test_roots_take_what_the_orchestrator_gives(kind: str, profile: str, roots: dict[str, Root]) -> None:
    root = roots[kind]
    root.render(json.loads(json.dumps(values(kind, profile))))
    said = root.terraform("plan", "-input=false", "-lock=false", "-no-color", "-out=tfplan")
    assert "Warning" not in said.stdout
    plan = json.loads(root.terraform("show", "-json", "tfplan").stdout)
    protections = {r.values["deletion_protection"] for r in resources(plan) if r.type == "google_sql_database_instance"}
    assert protections <= {profile == "production"}


def test_every_setting_of_a_service_reaches_it(roots: dict[str, Root]) -> None:
    plan = roots["clinic"].plan(values("clinic", "production"))
    (service,) = resources(plan, "google_cloud_run_v2_service")
    (template,) = service.values["template"]
    wanted = environment("production").clinic("north").service
    assert service.values["name"] == "oe-prod-north-web"
    assert service.values["ingress"] == "INGRESS_TRAFFIC_INTERNAL_LOAD_BALANCER"
    assert template["max_instance_request_concurrency"] == wanted.concurrency
    assert template["scaling"][0].items() >= {"max_instance_count": 3, "min_instance_count": 1}.items()
    assert template["vpc_access"][0]["egress"] == wanted.vpc_egress_setting
    limits = template["containers"][0]["resources"][0]["limits"]
    assert limits == {"cpu": str(wanted.cpu), "memory": wanted.memory}
    added = {e["name"]: e.get("value") for e in template["containers"][0]["env"]}
    assert added["PHP_MEMORY_LIMIT"] == "256M"
