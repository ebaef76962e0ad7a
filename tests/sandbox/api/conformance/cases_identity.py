"""What every API refuses, and IAM, Service Usage and Resource Manager: one request for each refusal."""

from __future__ import annotations

import gzip
import time
from typing import Any
from urllib.parse import urlencode

from tests.oidc import Issuer
from tests.sandbox.api.conformance.target import ISSUER, Target, case, rest
from tests.sandbox.api.support import Answer

SECRETS = "v1/{p}/secrets"
SECRET = f"{SECRETS}/conf-secret"
ACCOUNTS, ROLES = "v1/{p}/serviceAccounts", "v1/{p}/roles"
LONG_NAME = {"accountId": "conf-new", "serviceAccount": {"displayName": "x" * 101}}
DOCKER = {"format": "DOCKER"}
NEW: dict[str, Any] = {"replication": {"automatic": {}}}


def bind(refusal: str, role: str, member: str, **more: Any) -> None:
    policy = {"policy": {"bindings": [{"role": role, "members": [member], **more}], "etag": more.pop("etag", "")}}
    rest(refusal, "POST", "secretmanager", f"{SECRET}:setIamPolicy", policy)


rest("google.json", "POST", "secretmanager", f"{SECRETS}?secretId=x", b"{")
rest("google.gzip", "POST", "secretmanager", f"{SECRETS}?secretId=x", gzip.compress(b"{}")[:9], Content_Encoding="gzip")
rest("google.body-size", "POST", "secretmanager", f"{SECRETS}?secretId=x", b" " * (64 * 1024 * 1024 + 1))
rest("google.unknown-field", "POST", "secretmanager", f"{SECRETS}?secretId=x", {**NEW, "nosuch": 1})
rest("google.value", "POST", "secretmanager", f"{SECRETS}?secretId=x", {**NEW, "labels": {"a": 1}})
rest("google.unknown-parameter", "GET", "secretmanager", f"{SECRETS}?nosuch=1")
rest("google.required-parameter", "GET", "storage", "storage/v1/b")
rest("google.required", "POST", "secretmanager", SECRETS, NEW)
rest("google.immutable", "PATCH", "secretmanager", f"{SECRET}?updateMask=replication",
     {"replication": {"userManaged": {"replicas": [{"location": "europe-west1"}]}}})  # fmt: skip
rest("google.etag", "DELETE", "run", "v2/{l}/jobs/conf-job?etag=stale")
rest("secretmanager.etag", "DELETE", "secretmanager", f"{SECRET}?etag=stale")
rest("google.mask", "PATCH", "secretmanager", f"{SECRET}?updateMask=nosuch", {"labels": {}})
rest("google.name", "POST", "artifactregistry", "v1/{l}/repositories?repositoryId=UPPER", DOCKER)
rest("google.page-size", "GET", "secretmanager", f"{SECRETS}?pageSize=-1")
rest("google.page-token", "GET", "secretmanager", f"{SECRETS}?pageToken=!")
rest("google.filter", "GET", "secretmanager", f"{SECRETS}?filter=((")
rest("google.operation-not-found", "GET", "run", "v2/{l}/operations/none")
rest("google.unauthenticated", "GET", "secretmanager", SECRETS, token="")
rest("google.invalid-credentials", "GET", "secretmanager", SECRETS, token="ya29.guess")
rest("google.method", "GET", "secretmanager", "v1/nothing/here")
rest("google.project", "GET", "secretmanager", "v1/projects/Not_An_Id/secrets")
rest("google.service-disabled", "GET", "secretmanager", "v1/projects/conf-closed/secrets")
rest("google.not-found", "GET", "artifactregistry", "v1/{l}/repositories/none")
rest(
    "artifactregistry.exists", "POST", "artifactregistry", "v1/{l}/repositories?repositoryId=conf", {"format": "DOCKER"}
)
rest("cloudresourcemanager.not-found", "GET", "cloudresourcemanager", "v3/projects/-")
rest("serviceusage.not-found", "POST", "serviceusage", "v1/{p}/services/nonsense:enable", {})
rest("serviceusage.batch", "POST", "serviceusage", "v1/{p}/services:batchEnable", {"serviceIds": []})

bind("iam.role", "roles/no.such", "user:a@example.org")
bind("iam.member", "roles/viewer", "somebody")
bind("iam.member-missing", "roles/viewer", "serviceAccount:no@conf-project.iam.gserviceaccount.com")
bind("iam.condition", "roles/viewer", "user:a@example.org", condition={"title": "t", "expression": "x("})
bind("iam.condition-title", "roles/viewer", "user:a@example.org", condition={"expression": "true"})
rest(
    "iam.policy-etag",
    "POST",
    "secretmanager",
    f"{SECRETS}/conf-secret:setIamPolicy",
    {"policy": {"etag": "BwYAAAAAAAE="}},
)
rest("iam.wildcard", "POST", "secretmanager", f"{SECRETS}/conf-secret:testIamPermissions", {"permissions": ["a.b.*"]})
rest("iam.not-found", "GET", "iam", f"{ACCOUNTS}/no@conf-project.iam.gserviceaccount.com")
rest("iam.exists", "POST", "iam", ACCOUNTS, {"accountId": "conf-web"})
rest("iam.account-id", "POST", "iam", ACCOUNTS, {"accountId": "short"})
rest("iam.account-text", "POST", "iam", ACCOUNTS, LONG_NAME)
rest("iam.role-not-found", "GET", "iam", f"{ROLES}/none")
rest("iam.role-exists", "POST", "iam", ROLES, {"roleId": "conf_role", "role": {"title": "t"}})
rest("iam.role-id", "POST", "iam", ROLES, {"roleId": "a", "role": {"title": "t"}})
rest("iam.role-etag", "PATCH", "iam", f"{ROLES}/conf_role?updateMask=title", {"title": "n", "etag": "c3RhbGU="})
rest("iam.role-deleted", "POST", "iam", ROLES, {"roleId": "conf_deleted", "role": {"title": "t"}})
rest("iam.permission", "POST", "iam", ROLES, {"roleId": "new", "role": {"includedPermissions": ["nonsense"]}})


POOLS = "v1/{p}/locations/global/workloadIdentityPools"
GITHUB = {"oidc": {"issuerUri": "https://token.actions.githubusercontent.com"}}
SUBJECT = {"attributeMapping": {"google.subject": "assertion.sub"}}


def provider(refusal: str, **fields: Any) -> None:
    rest(refusal, "POST", "iam", f"{POOLS}/conf-pool/providers?workloadIdentityPoolProviderId=conf-new", fields)


rest("iam.pool-id", "POST", "iam", f"{POOLS}?workloadIdentityPoolId=gcp-mine", {})
provider("iam.provider-kind", **SUBJECT)
provider("iam.provider-issuer", oidc={"issuerUri": "http://example.org"}, **SUBJECT)
provider("iam.provider-subject", **GITHUB)
provider("iam.provider-condition", **GITHUB, **SUBJECT)


AUDIENCE = "//iam.googleapis.com/projects/{n}/locations/global/workloadIdentityPools/conf-pool/providers/conf-ci"


def exchange(refusal: str, *, audience: str = AUDIENCE, issuer: Issuer = ISSUER, **claims: Any) -> None:
    """A token of the issuer exchanged, with something wrong about it; `token` is sent instead of it."""

    def call(target: Target) -> Answer:
        said = {"sub": "repo:conf/repository", "repository": "conf/repository", **claims}
        token = said.pop("token", "")
        meant = target.fill(said.pop("aud", f"https:{AUDIENCE}"))
        form = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "audience": target.fill(audience),
            "subject_token": token or issuer.token(audience=meant, **said),
        }
        return target.call("POST", "sts", "v1/token", urlencode(form).encode(), token="")

    case(refusal)(call)


exchange("sts.audience", audience="conf-ci")
exchange("sts.target", audience=AUDIENCE.replace("conf-ci", "none"))
exchange("sts.token", token="no token")
exchange("sts.issuer", iss="https://stranger.example")
exchange("sts.signature", issuer=Issuer(ISSUER.url))
exchange("sts.connect", audience=AUDIENCE.replace("conf-ci", "conf-far"), iss="https://far.example")
exchange("sts.aud", aud="https://elsewhere.example")
exchange("sts.stale", exp=1)
exchange("sts.condition", repository="stranger/repository")
exchange("sts.mapping", sub=4711)
exchange("sts.subject", sub="x" * 128)


@case("iamcredentials.denied")
def token_of_an_account_for_nobody_who_may(target: Target) -> Answer:
    path = f"v1/projects/-/serviceAccounts/{target.account}:generateAccessToken"
    return target.call("POST", "iamcredentials", path, {"scope": ["x"]}, token=target.token())


@case("google.exists")
def same_metric_again(target: Target) -> Answer:
    metric = {"name": "conf-metric", "filter": "severity>=ERROR"}
    target.call("POST", "logging", "v2/{p}/metrics", metric)
    return target.call("POST", "logging", "v2/{p}/metrics", metric)


@case("iam.account-field")
def change_of_an_accounts_address(target: Target) -> Answer:
    body = {"serviceAccount": {"email": "x"}, "updateMask": "email"}
    return target.call("PATCH", "iam", f"{ACCOUNTS}/{target.account}", body)


@case("iam.role-gone")
def role_deleted_eight_days_ago(target: Target) -> Answer:
    store = target.here.app.store
    record = store.get(target.fill("iam.googleapis.com/{p}/roles/conf_gone"))
    assert record is not None
    store.put(record.name, record.body, hidden={"deleted": time.time() - 8 * 86400})
    return target.call("POST", "iam", f"{ROLES}/conf_gone:undelete", {})


@case("iam.act-as")
def service_as_an_account_that_is_not_ours(target: Target) -> Answer:
    email = "conf-deployer@conf-project.iam.gserviceaccount.com"
    body = {"template": {"serviceAccount": target.account, "containers": [{"image": target.image}]}}
    token = target.here.app.mint_token(email)
    return target.call("POST", "run", "v2/{l}/services?serviceId=conf-act-as", body, token=token)


@case("run.image-denied")
def service_of_an_image_that_its_deployer_may_not_read(target: Target) -> Answer:
    email = "conf-deployer@conf-project.iam.gserviceaccount.com"
    binding = {"role": "roles/iam.serviceAccountUser", "members": [f"serviceAccount:{email}"]}
    account = f"conf-builder@{target.account.partition('@')[2]}"
    target.call("POST", "iam", f"{ACCOUNTS}/{account}:setIamPolicy", {"policy": {"bindings": [binding]}})
    body = {"template": {"serviceAccount": account, "containers": [{"image": target.image}]}}
    token = target.here.app.mint_token(email)
    return target.call("POST", "run", "v2/{l}/services?serviceId=conf-unread", body, token=token)


def denied(refusal: str, api: str, path: str) -> None:
    case(refusal)(lambda target: target.call("GET", api, path, token=target.token()))


@case("cloudresourcemanager.denied-setIamPolicy")
def policy_of_a_project_that_is_somebody_elses_to_change(target: Target) -> Answer:
    return target.call("POST", "cloudresourcemanager", "v1/{p}:setIamPolicy", {"policy": {}}, token=target.token())


denied("google.denied", "artifactregistry", "v1/{l}/repositories/conf")
denied("iam.denied", "iam", f"{ROLES}/conf_role")
denied("serviceusage.denied", "serviceusage", "v1/{p}/services/run.googleapis.com")
