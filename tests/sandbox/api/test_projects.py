"""Projects, accounts, roles, services, builds and images."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from gcp_openemr.sandbox.interfaces import Refused
from tests.sandbox.api.support import IMAGES, PROJECT, REGION, Answer, Cloud

MANAGER = f"v1/projects/{PROJECT}"
ACCOUNTS = f"v1/projects/{PROJECT}/serviceAccounts"
LOCATION = f"v1/projects/{PROJECT}/locations/{REGION}"
BUCKET = "my-clinic-oe-prod-build"


def grant(cloud: Cloud, role: str, member: str, **condition: Any) -> None:
    """Add a binding to the project's policy, as Terraform's iam_member does."""
    policy = cloud.call("POST", "cloudresourcemanager", f"{MANAGER}:getIamPolicy", {}).body
    policy["bindings"].append({"role": role, "members": [member], **({"condition": condition} if condition else {})})
    answer = cloud.call("POST", "cloudresourcemanager", f"{MANAGER}:setIamPolicy", {"policy": policy})
    assert answer.status == 200, answer.body


def test_a_project_is_there_when_the_operator_names_it(cloud: Cloud, account: str) -> None:
    found = cloud.call("GET", "cloudresourcemanager", f"v3/projects/{PROJECT}").body
    assert (found["projectId"], found["state"]) == (PROJECT, "ACTIVE")
    number = found["name"].removeprefix("projects/")
    assert len(number) == 12
    assert cloud.call("GET", "cloudresourcemanager", f"v1/projects/{number}").body["projectId"] == PROJECT
    token = cloud.app.mint_token(account)
    assert cloud.call("GET", "cloudresourcemanager", "v3/projects/somebody-elses", token=token).status == 403
    assert cloud.call("GET", "cloudresourcemanager", "v3/projects/Not_An_Id").status == 403
    mine = cloud.call("GET", "cloudresourcemanager", "v3/projects:search").body["projects"]
    assert [project["projectId"] for project in mine] == [PROJECT]
    assert cloud.call("GET", "cloudresourcemanager", "v3/projects:search", token=token).body == {}


def test_conditions_narrow_a_role(cloud: Cloud, account: str) -> None:
    token = cloud.app.mint_token(account)
    member = f"serviceAccount:{account}"
    for name in ("oe-prod-main-a", "oe-prod-other-a"):
        cloud.call(
            "POST",
            "secretmanager",
            f"v1/projects/{PROJECT}/secrets?secretId={name}",
            {"replication": {"automatic": {}}},
        )
    number = cloud.call("GET", "cloudresourcemanager", f"v3/projects/{PROJECT}").body["name"]
    own = f'resource.name.startsWith("{number}/secrets/oe-prod-main-")'
    own += ' && request.time < timestamp("2100-01-01T00:00:00Z")'
    grant(cloud, "roles/secretmanager.viewer", member, title="own", expression=own)
    secrets = f"v1/projects/{PROJECT}/secrets"
    assert cloud.call("GET", "secretmanager", f"{secrets}/oe-prod-main-a", token=token).status == 200
    assert cloud.call("GET", "secretmanager", f"{secrets}/oe-prod-other-a", token=token).status == 403


def test_whoever_may_grant_some_roles_grants_revokes_and_narrows_no_other(cloud: Cloud, account: str) -> None:
    member = f"serviceAccount:{account}"
    only = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly(['roles/browser', 'roles/viewer'])"
    grant(cloud, "roles/resourcemanager.projectIamAdmin", member, title="two roles", expression=only)
    grant(cloud, "roles/run.viewer", "user:other@clinic.example")
    token = cloud.app.mint_token(account)
    asked = {"permissions": ["resourcemanager.projects.setIamPolicy"]}
    assert cloud.call("POST", "cloudresourcemanager", f"{MANAGER}:testIamPermissions", asked, token=token).body == asked

    def change(edit: Callable[[list[dict[str, Any]]], object]) -> Answer:
        policy = cloud.call("POST", "cloudresourcemanager", f"{MANAGER}:getIamPolicy", {}, token=token).body
        edit(policy["bindings"])
        return cloud.call("POST", "cloudresourcemanager", f"{MANAGER}:setIamPolicy", {"policy": policy}, token=token)

    two = [{"role": role, "members": ["user:a@clinic.example"]} for role in ("roles/browser", "roles/viewer")]
    assert change(lambda bindings: bindings.extend(two)).status == 200
    assert change(lambda bindings: bindings.pop()).status == 200
    narrowed = {"condition": {"title": "never", "expression": "false"}}
    assert change(lambda bindings: bindings[-1].update(narrowed)).status == 200
    owner = {"role": "roles/owner", "members": [member]}
    refused = (
        change(lambda bindings: bindings.append(owner)),
        change(lambda bindings: bindings[0]["members"].append(member)),
        change(lambda bindings: bindings.extend([two[1], owner])),
        change(lambda bindings: bindings.remove(next(one for one in bindings if one["role"] == "roles/run.viewer"))),
        change(lambda bindings: [one.pop("condition", None) for one in bindings]),
    )
    assert [(answer.status, answer.message) for answer in refused] == [(403, "Policy update access denied.")] * 5


def test_a_limit_on_roles_opens_no_policy_of_a_service_that_does_not_know_it(cloud: Cloud, account: str) -> None:
    only = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly(['roles/run.invoker'])"
    grant(cloud, "roles/run.admin", f"serviceAccount:{account}", title="one role", expression=only)
    token, service = cloud.app.mint_token(account), f"v2/projects/{PROJECT}/locations/{REGION}/services/none"
    body = {"policy": {"bindings": [{"role": "roles/run.invoker", "members": ["allUsers"]}]}}
    assert cloud.call("POST", "run", f"{service}:setIamPolicy", body, token=token).status == 403
    assert cloud.call("GET", "run", service, token=token).status == 404


def test_service_accounts_live_and_die(cloud: Cloud, account: str) -> None:
    assert account == f"oe-prod-web@{PROJECT}.iam.gserviceaccount.com"
    found = cloud.call("GET", "iam", f"v1/projects/-/serviceAccounts/{account}").body
    assert found["displayName"] == "Web"
    assert cloud.call("GET", "iam", f"{ACCOUNTS}/{found['uniqueId']}").body["email"] == account
    twice = cloud.call("POST", "iam", ACCOUNTS, {"accountId": "oe-prod-web"})
    assert (twice.status, twice.body["error"]["status"]) == (409, "ALREADY_EXISTS")
    for wrong in ("short", "UPPER-case", "a" * 31, ""):
        assert cloud.call("POST", "iam", ACCOUNTS, {"accountId": wrong}).status == 400
    change = {"serviceAccount": {"displayName": "Front"}, "updateMask": "displayName"}
    assert cloud.call("PATCH", "iam", f"{ACCOUNTS}/{account}", change).body["displayName"] == "Front"
    grant(cloud, "roles/viewer", f"serviceAccount:{account}")
    token = cloud.app.mint_token(account)
    assert cloud.call("GET", "cloudresourcemanager", f"v3/projects/{PROJECT}", token=token).status == 200
    cloud.call("POST", "iam", f"{ACCOUNTS}/{account}:disable", {})
    assert cloud.call("GET", "cloudresourcemanager", f"v3/projects/{PROJECT}", token=token).status == 401
    assert cloud.call("DELETE", "iam", f"{ACCOUNTS}/{account}").status == 200
    assert cloud.call("GET", "iam", f"{ACCOUNTS}/{account}").status == 404
    policy = cloud.call("POST", "cloudresourcemanager", f"{MANAGER}:getIamPolicy", {}).body
    left = [member for binding in policy["bindings"] for member in binding["members"] if account in member]
    assert left == [f"deleted:serviceAccount:{account}?uid={found['uniqueId']}"]
    again = cloud.call("POST", "iam", ACCOUNTS, {"accountId": "oe-prod-web"}).body
    assert again["uniqueId"] != found["uniqueId"]
    assert cloud.call("GET", "cloudresourcemanager", f"v3/projects/{PROJECT}", token=token).status == 403


def test_a_custom_role_grants_what_it_lists(cloud: Cloud, account: str) -> None:
    roles = f"v1/projects/{PROJECT}/roles"
    role = {
        "title": "Users",
        "includedPermissions": ["cloudsql.users.list", "resourcemanager.projects.get"],
        "stage": "GA",
    }
    assert cloud.call("POST", "iam", roles, {"roleId": "oe_prod_users", "role": role}).status == 200
    grant(cloud, f"projects/{PROJECT}/roles/oe_prod_users", f"serviceAccount:{account}")
    token = cloud.app.mint_token(account)
    path = f"v3/projects/{PROJECT}"
    assert cloud.call("GET", "cloudresourcemanager", path, token=token).status == 200
    change = {"includedPermissions": ["cloudsql.users.list"]}
    assert cloud.call("PATCH", "iam", f"{roles}/oe_prod_users?updateMask=includedPermissions", change).status == 200
    assert cloud.call("GET", "cloudresourcemanager", path, token=token).status == 403
    assert cloud.call("DELETE", "iam", f"{roles}/oe_prod_users").body["deleted"] is True
    again = cloud.call("POST", "iam", roles, {"roleId": "oe_prod_users", "role": role})
    assert (again.status, "deleted state" in again.message) == (400, True)
    assert "deleted" not in cloud.call("POST", "iam", f"{roles}/oe_prod_users:undelete", {}).body
    assert cloud.call("GET", "iam", roles).body["roles"][0]["name"].endswith("oe_prod_users")
    assert cloud.call("GET", "iam", "v1/roles/run.invoker").body["includedPermissions"] == [
        "run.jobs.run",
        "run.routes.invoke",
    ]


def test_services_are_enabled_one_by_one_and_together(cloud: Cloud) -> None:
    services = "v1/projects/another-project/services"
    assert cloud.call("GET", "serviceusage", f"{services}/run.googleapis.com").body["state"] == "DISABLED"
    done = cloud.call("POST", "serviceusage", f"{services}/run.googleapis.com:enable", {}).body
    assert done["done"] is True
    assert done["response"]["service"]["state"] == "ENABLED"
    both = {"serviceIds": ["sqladmin.googleapis.com", "dns.googleapis.com"]}
    operation = cloud.call("POST", "serviceusage", f"{services}:batchEnable", both).body
    assert cloud.call("GET", "serviceusage", f"v1/{operation['name']}").body["done"] is True
    listed = cloud.call("GET", "serviceusage", f"{services}?filter=state:ENABLED&pageSize=200").body["services"]
    names = {item["config"]["name"] for item in listed}
    assert {"run.googleapis.com", "sqladmin.googleapis.com", "dns.googleapis.com", "storage.googleapis.com"} <= names
    cloud.call("POST", "serviceusage", f"{services}/run.googleapis.com:disable", {})
    assert cloud.call("GET", "serviceusage", f"{services}/run.googleapis.com").body["state"] == "DISABLED"
    assert cloud.call("POST", "serviceusage", f"{services}/nonsense:enable", {}).status == 404


@pytest.fixture
def builder(cloud: Cloud, account: str) -> dict[str, Any]:
    """A build request that may succeed."""
    repository = {"format": "DOCKER", "dockerConfig": {"immutableTags": True}}
    cloud.wait(cloud.call("POST", "artifactregistry", f"{LOCATION}/repositories?repositoryId=oe-prod", repository))
    cloud.call("POST", "storage", f"storage/v1/b?project={PROJECT}", {"name": BUCKET})
    cloud.call("POST", "storage", f"upload/storage/v1/b/{BUCKET}/o?uploadType=media&name=source.tar.gz", b"tar")
    member = f"serviceAccount:{account}"
    policy = {"bindings": [{"role": "roles/storage.objectViewer", "members": [member]}]}
    cloud.call("PUT", "storage", f"storage/v1/b/{BUCKET}/iam", policy)
    writer = {"policy": {"bindings": [{"role": "roles/artifactregistry.writer", "members": [member]}]}}
    cloud.call("POST", "artifactregistry", f"{LOCATION}/repositories/oe-prod:setIamPolicy", writer)
    return {
        "source": {"storageSource": {"bucket": BUCKET, "object": "source.tar.gz"}},
        "steps": [{"name": "gcr.io/cloud-builders/docker", "args": ["build", "."]}],
        "images": [f"{IMAGES}/service:7.0.4", f"{IMAGES}/job:7.0.4"],
        "serviceAccount": f"projects/{PROJECT}/serviceAccounts/{account}",
        "options": {"logging": "CLOUD_LOGGING_ONLY"},
        "tags": ["7.0.4-abc"],
    }


def test_a_build_pushes_images_that_can_be_found(cloud: Cloud, builder: dict[str, Any]) -> None:
    operation = cloud.call("POST", "cloudbuild", f"{LOCATION}/builds", builder)
    done = cloud.wait(operation)
    build = done["response"]
    assert (build["status"], build["projectId"]) == ("SUCCESS", PROJECT)
    polled = cloud.call("GET", "cloudbuild", f"v1/{operation.body['name']}").body
    assert polled["response"]["@type"] == "type.googleapis.com/google.devtools.cloudbuild.v1.Build"
    assert polled["metadata"]["build"]["id"] == build["id"]
    assert cloud.call("GET", "cloudbuild", f"{LOCATION}/builds/{build['id']}").body["status"] == "SUCCESS"
    listed = cloud.call("GET", "cloudbuild", f'{LOCATION}/builds?filter=tags%3D"7.0.4-abc"').body["builds"]
    assert [item["id"] for item in listed] == [build["id"]]
    assert cloud.call("GET", "cloudbuild", f'{LOCATION}/builds?filter=tags%3D"other"').body == {}
    digest = build["results"]["images"][0]["digest"]
    packages = f"{LOCATION}/repositories/oe-prod/packages"
    tag = cloud.call("GET", "artifactregistry", f"{packages}/service/tags/7.0.4").body
    assert tag["version"].endswith(digest)
    images = cloud.call("GET", "artifactregistry", f"{LOCATION}/repositories/oe-prod/dockerImages").body["dockerImages"]
    assert {image["uri"].partition("@")[0] for image in images} == {f"{IMAGES}/service", f"{IMAGES}/job"}
    assert "building" in (cloud.app.state_dir / "logs" / f"build-{build['id']}.log").read_text()


def test_an_immutable_tag_does_not_move(cloud: Cloud, builder: dict[str, Any]) -> None:
    cloud.wait(cloud.call("POST", "cloudbuild", f"{LOCATION}/builds", builder))
    moved = {"images": [{"name": image, "digest": "sha256:" + "0" * 64} for image in builder["images"]]}
    cloud.runtime.built = moved
    done = cloud.wait(cloud.call("POST", "cloudbuild", f"{LOCATION}/builds", builder))
    assert "cannot update tag 7.0.4" in done["error"]["message"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"source": {"storageSource": {"bucket": BUCKET, "object": "none"}}}, "object doesn't exist"),
        ({"images": [f"{REGION}-docker.pkg.dev/{PROJECT}/no-such/service:1"]}, "not found"),
    ],
)
def test_a_build_fails_for_what_it_finds_out_late(
    cloud: Cloud, builder: dict[str, Any], change: dict[str, Any], sentence: str
) -> None:
    done = cloud.wait(cloud.call("POST", "cloudbuild", f"{LOCATION}/builds", {**builder, **change}))
    assert sentence in done["error"]["message"]
    build = done["metadata"]["build"]
    assert (build["status"], sentence in build["failureInfo"]["detail"]) == ("FAILURE", True)


def test_a_build_runs_with_its_accounts_rights_only(cloud: Cloud, builder: dict[str, Any]) -> None:
    cloud.call(
        "POST", "artifactregistry", f"{LOCATION}/repositories/oe-prod:setIamPolicy", {"policy": {"bindings": []}}
    )
    done = cloud.wait(cloud.call("POST", "cloudbuild", f"{LOCATION}/builds", builder))
    assert 'denied: Permission "artifactregistry.repositories.uploadArtifacts" denied' in done["error"]["message"]


def test_a_defect_of_the_runtime_does_not_leave_a_build_hanging(cloud: Cloud, builder: dict[str, Any]) -> None:
    cloud.runtime.refuse["build"] = ZeroDivisionError("a defect")
    done = cloud.wait(cloud.call("POST", "cloudbuild", f"{LOCATION}/builds", builder))
    assert done["error"] == {"code": 13, "message": "Internal error encountered."}
    assert done["metadata"]["build"]["status"] == "FAILURE"


def test_a_failing_step_fails_the_build(cloud: Cloud, builder: dict[str, Any]) -> None:
    cloud.runtime.refuse["build"] = Refused("build step 0 failed: step exited with non-zero status: 1")
    done = cloud.wait(cloud.call("POST", "cloudbuild", f"{LOCATION}/builds", builder))
    assert "build step 0 failed" in done["error"]["message"]


def test_a_binding_takes_time_to_be_seen_when_asked_to(
    cloud: Cloud, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, token = f"v3/projects/{PROJECT}", cloud.app.mint_token(account)
    cloud.app.change_settings({"propagation": 0.5})
    grant(cloud, "roles/viewer", f"serviceAccount:{account}")
    assert cloud.call("GET", "cloudresourcemanager", path, token=token).status == 403
    moment = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: moment)
    assert cloud.call("GET", "cloudresourcemanager", path, token=token).status == 200
    cloud.call("POST", "cloudresourcemanager", f"{MANAGER}:setIamPolicy", {"policy": {"bindings": []}})
    assert cloud.call("GET", "cloudresourcemanager", path, token=token).status == 200
    cloud.app.change_settings({"propagation": 0})
    assert cloud.call("GET", "cloudresourcemanager", path, token=token).status == 403


def test_an_api_answers_once_it_is_enabled_and_known_everywhere(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets, services = "v1/projects/a-new-project/secrets", "v1/projects/a-new-project/services"
    assert cloud.call("GET", "storage", "storage/v1/b?project=a-new-project").status == 200
    refused = cloud.call("GET", "secretmanager", secrets).body["error"]
    assert (refused["code"], refused["status"], refused["details"][0]["reason"]) == (
        403,
        "PERMISSION_DENIED",
        "SERVICE_DISABLED",
    )
    assert refused["details"][0]["metadata"]["consumer"] == "projects/a-new-project"
    assert refused["details"][2]["links"][0]["url"].endswith(
        "secretmanager.googleapis.com/overview?project=a-new-project"
    )
    cloud.app.change_settings({"propagation": 1})
    cloud.call("POST", "serviceusage", f"{services}/secretmanager.googleapis.com:enable", {})
    assert cloud.call("GET", "secretmanager", secrets).status == 403
    moment = time.time() + 121
    monkeypatch.setattr(time, "time", lambda: moment)
    assert cloud.call("GET", "secretmanager", secrets).status == 200


def test_the_id_of_a_deleted_role_is_free_after_37_days(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    roles, role = f"v1/projects/{PROJECT}/roles", {"roleId": "oe_role", "role": {"title": "t"}}
    cloud.call("POST", "iam", roles, role)
    cloud.call("DELETE", "iam", f"{roles}/oe_role")
    moment = time.time() + 38 * 86400
    monkeypatch.setattr(time, "time", lambda: moment)
    assert cloud.call("GET", "iam", f"{roles}/oe_role").status == 404
    assert cloud.call("POST", "iam", roles, role).status == 200


def test_a_deleted_pool_keeps_its_name_for_thirty_days(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    pools = f"v1/projects/{PROJECT}/locations/global/workloadIdentityPools"
    made = cloud.call("POST", "iam", f"{pools}?workloadIdentityPoolId=oe-pool", {"displayName": "CI"}).body
    assert cloud.call("GET", "iam", f"v1/{made['name']}").body["done"] is True
    assert cloud.call("GET", "iam", f"{pools}/oe-pool").body["state"] == "ACTIVE"
    github = {
        "oidc": {"issuerUri": "https://token.actions.githubusercontent.com"},
        "attributeMapping": {"google.subject": "assertion.sub"},
        "attributeCondition": "assertion.repository_owner == 'clinic'",
    }
    providers = f"{pools}/oe-pool/providers"
    assert cloud.call("POST", "iam", f"{providers}?workloadIdentityPoolProviderId=github", github).status == 200
    assert cloud.call("GET", "iam", f"{providers}/github").body["attributeCondition"] == github["attributeCondition"]
    cloud.call("DELETE", "iam", f"{pools}/oe-pool")
    assert cloud.call("GET", "iam", f"{pools}/oe-pool").body["state"] == "DELETED"
    assert cloud.call("POST", "iam", f"{pools}?workloadIdentityPoolId=oe-pool", {}).status == 409
    cloud.call("POST", "iam", f"{pools}/oe-pool:undelete", {})
    assert cloud.call("GET", "iam", f"{pools}/oe-pool").body["state"] == "ACTIVE"
    cloud.call("DELETE", "iam", f"{pools}/oe-pool")
    moment = time.time() + 31 * 86400
    monkeypatch.setattr(time, "time", lambda: moment)
    assert cloud.call("GET", "iam", f"{pools}/oe-pool").status == 404
    assert cloud.call("POST", "iam", f"{pools}?workloadIdentityPoolId=oe-pool", {}).status == 200
