"""Whose credentials are used, and that Terraform is told to use the same."""

from __future__ import annotations

import contextlib
import http.server
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.auth import identity_pool, impersonated_credentials
from google.auth.exceptions import RefreshError
from google.auth.transport.requests import Request
from google.oauth2 import credentials as user

from gcp_openemr import process, refused
from gcp_openemr.clients import Cloud, google_cloud, translate
from gcp_openemr.credentials import NOT_TERRAFORM_S, acting_as, find, impersonated, name_of, of_federation
from gcp_openemr.errors import CloudRefused, JobFailed, NotPermitted, TerraformFailed
from gcp_openemr.setup.terraform import locate_terraform
from tests.oidc import Issuer
from tests.unit import cloud as clouds

ACCOUNT = "oe-prod-deploy@my-clinic-prod.iam.gserviceaccount.com"
LOGIN = {"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "r"}


@pytest.fixture
def login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's application default login, and no other credentials."""
    for name in (*NOT_TERRAFORM_S, "GOOGLE_OAUTH_ACCESS_TOKEN", "GOOGLE_CLOUD_QUOTA_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "login.json"
    file.write_text(json.dumps(LOGIN))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    return file


def test_an_access_token_goes_before_a_login_as_it_does_for_terraform(login: Path) -> None:
    variables = {"GOOGLE_OAUTH_ACCESS_TOKEN": "ya29.given", "GOOGLE_APPLICATION_CREDENTIALS": str(login)}
    found = find(variables)
    assert (found.credentials.token, name_of(found.credentials)) == ("ya29.given", "")
    assert "ya29.given" not in repr(found)


def test_nothing_of_terraform_s_own_makes_it_somebody_else(login: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key in GOOGLE_CREDENTIALS would be Terraform's caller, and not the clients'."""
    monkeypatch.setenv("GOOGLE_CREDENTIALS", '{"type": "service_account"}')
    monkeypatch.setenv("GOOGLE_IMPERSONATE_SERVICE_ACCOUNT", ACCOUNT)
    cloud = google_cloud("my-clinic-prod")
    assert isinstance(cloud.credentials, user.Credentials)
    assert dict(cloud.terraform_environment) == NOT_TERRAFORM_S
    assert {"GOOGLE_CREDENTIALS", "GOOGLE_IMPERSONATE_SERVICE_ACCOUNT"} <= NOT_TERRAFORM_S.keys()


def test_both_take_the_account_that_is_impersonated(login: Path) -> None:
    cloud = google_cloud("my-clinic-prod", impersonate=ACCOUNT)
    assert isinstance(cloud.credentials, impersonated_credentials.Credentials)
    assert name_of(cloud.credentials) == ACCOUNT
    assert cloud.terraform_environment["GOOGLE_IMPERSONATE_SERVICE_ACCOUNT"] == ACCOUNT
    assert impersonated(cloud.credentials) is cloud.credentials


def test_both_name_the_quota_project(login: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    login.write_text(json.dumps({**LOGIN, "quota_project_id": "pays"}))
    found = find({"GOOGLE_APPLICATION_CREDENTIALS": str(login)})
    assert found.terraform_environment["GOOGLE_BILLING_PROJECT"] == "pays"
    assert found.terraform_environment["USER_PROJECT_OVERRIDE"] == "true"
    headers: dict[str, str] = {}
    found.credentials.apply(headers, token="t")
    assert headers["x-goog-user-project"] == "pays"
    given = find({"GOOGLE_OAUTH_ACCESS_TOKEN": "t", "GOOGLE_CLOUD_QUOTA_PROJECT": "other"})
    assert given.terraform_environment["GOOGLE_BILLING_PROJECT"] == "other"


def test_an_account_uses_the_quota_of_the_project_that_is_named_and_not_of_the_login_s(login: Path) -> None:
    login.write_text(json.dumps({**LOGIN, "quota_project_id": "pays"}))
    variables = {"GOOGLE_APPLICATION_CREDENTIALS": str(login)}
    assert "GOOGLE_BILLING_PROJECT" not in find(variables, impersonate=ACCOUNT).terraform_environment
    named = find({**variables, "GOOGLE_CLOUD_QUOTA_PROJECT": "other"}, impersonate=ACCOUNT)
    assert named.terraform_environment["GOOGLE_BILLING_PROJECT"] == "other"
    headers: dict[str, str] = {}
    named.credentials.apply(headers, token="t")
    assert headers["x-goog-user-project"] == "other"


@pytest.mark.parametrize(
    ("content", "said"), [(None, "does not exist"), ("{", "holds no credentials"), ("[]", "holds no credentials")]
)
def test_a_wrong_file_is_named(login: Path, content: str | None, said: str) -> None:
    if content is None:
        login.unlink()
    else:
        login.write_text(content)
    with pytest.raises(NotPermitted, match=said) as caught:
        google_cloud("my-clinic-prod")
    assert str(login) in caught.value.what


def test_a_federation_that_google_does_not_let_in_is_told_like_any_other(login: Path) -> None:
    """Google's library tries it while it looks for credentials."""
    account = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{ACCOUNT}:generateAccessToken"
    (login.parent / "token").write_text("header.payload.signature")
    federation = {
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/a/providers/b",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "service_account_impersonation_url": account,
        "credential_source": {"file": str(login.parent / "token")},
    }
    login.write_text(json.dumps(federation))
    with pytest.raises(NotPermitted, match="credentials did not work"):
        google_cloud("my-clinic-prod")


class _Proxy(http.server.BaseHTTPRequestHandler):
    """Answers for every host."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_response(404)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing."""


def test_every_client_goes_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    server.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "metadata.google.internal")
    cloud = Cloud(project="p", credentials=user.Credentials(token="t"), base="http://cloud.example")
    calls: dict[str, Callable[[], object]] = {
        "storage": lambda: cloud.storage.get_bucket("b"),
        "secretmanager": lambda: cloud.secrets.get_secret(name="projects/p/secrets/s"),
        "iam": lambda: cloud.ask("iam", "v1/projects/p"),
        "run": lambda: cloud.services.get_service(name="projects/p/locations/l/services/s"),
        "sqladmin": lambda: cloud.api("sqladmin", "v1").instances().list(project="p").execute(),
    }
    try:
        for call in calls.values():
            with pytest.raises(Exception, match="404"):
                call()
    finally:
        server.shutdown()
        server.server_close()
    asked = server.asked  # type: ignore[attr-defined]
    assert len(asked) == len(calls)
    assert all(url.startswith("http://cloud.example/") for url in asked)
    assert [api for api, url in zip(calls, asked, strict=True) if api not in url] == []


@pytest.mark.parametrize(("account", "host"), [(ACCOUNT, "iamcredentials"), ("", "storage")])
def test_terraform_itself_takes_the_account_and_the_proxy(
    account: str, host: str, login: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real program's backend, as far as the first host that it asks; an empty variable is an unset one."""
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "t")
    variables = google_cloud("p", impersonate=account).terraform_environment
    (tmp_path / "main.tf").write_text('terraform {\n  backend "gcs" {\n    bucket = "b"\n  }\n}\n')
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_refuse, args=(listening, asked), daemon=True).start()
        proxy = {"HTTPS_PROXY": f"http://127.0.0.1:{listening.getsockname()[1]}", "CHECKPOINT_DISABLE": "1"}
        command = [str(locate_terraform().path), "init", "-input=false"]
        process.run(command, cwd=tmp_path, env={**variables, **proxy}, check=False, timeout=60)
    assert set(asked) == {f"CONNECT {host}.googleapis.com:443 HTTP/1.1"}


def _refuse(listening: socket.socket, asked: list[str]) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection, connection.makefile("rwb") as stream:
                asked.append(stream.readline().decode().strip())
                stream.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with clouds.cloud(tmp_path / "cloud") as made:
        yield made


def test_an_account_may_be_impersonated_by_whoever_may(cloud: Cloud) -> None:
    made = cloud.ask("iam", f"v1/projects/{cloud.project}/serviceAccounts", body={"accountId": "somebody"})
    acting = acting_as(cloud.credentials, made["email"], base=cloud.base)
    acting.refresh(Request())
    guest = Cloud(project=cloud.project, credentials=user.Credentials(token=acting.token), base=cloud.base)
    with pytest.raises(Exception, match="getAccessToken") as caught:
        acting_as(guest.credentials, made["email"], base=cloud.base).refresh(Request())
    found = translate(caught.value)
    assert isinstance(found, NotPermitted)
    assert "serviceAccountTokenCreator" in found.do


def test_a_federation_s_file_is_for_one_cloud(cloud: Cloud, tmp_path: Path) -> None:
    issuer = Issuer("https://token.actions.githubusercontent.com")
    file = issuer.credentials_file(
        tmp_path / "here", cloud=cloud.base, provider="projects/1/x", account=ACCOUNT, sub="s"
    )
    variables = {"GOOGLE_APPLICATION_CREDENTIALS": str(file)}
    assert isinstance(of_federation(variables, cloud.base), identity_pool.Credentials)
    assert of_federation({}, cloud.base) is None
    with pytest.raises(NotPermitted, match="not for http"):
        of_federation(variables, "http://127.0.0.1:1")
    file.write_text(file.read_text().replace(f"{cloud.base}/sts", "https://sts"))
    assert of_federation(variables, cloud.base) is None


@pytest.mark.parametrize(
    ("said", "do"),
    [
        ("The given credential is rejected by the attribute condition.", "gcp-openemr bootstrap"),
        ("Permission 'iam.serviceAccounts.getAccessToken' denied on resource", "destroy_environment"),
        ("the pool or provider is disabled or deleted or because it doesn't exist", "paste what it prints"),
        ("ID Token issued at 1 is stale to sign-in.", "run it again, and it continues"),
        ("do not contain the necessary fields need to refresh the access token", "get another"),
        ("invalid_grant: Token has been expired or revoked.", "gcloud auth application-default login"),
    ],
)
def test_credentials_that_google_does_not_take_are_explained(said: str, do: str) -> None:
    found = translate(RefreshError(said))
    assert isinstance(found, NotPermitted)
    assert said in found.what
    assert do in found.do


@pytest.mark.parametrize(
    ("said", "permission"),
    [
        ("Permission 'run.jobs.run' denied on resource (or it may not exist).", "run.jobs.run"),
        ("a@b does not have storage.objects.get access to the Google Cloud Storage object.", "storage.objects.get"),
        ("Required 'compute.networks.create' permission for 'projects/p'", "compute.networks.create"),
        ("Error 403: Permission 'iam.roles.create' denied on 'projects/p'", "iam.roles.create"),
        ("googleapi: Error 403: Policy update access denied., forbidden", "resourcemanager.projects.setIamPolicy"),
        ("Quota exceeded", ""),
    ],
)
def test_a_refusal_tells_what_is_lacking(said: str, permission: str) -> None:
    assert refused.lacking(said) == permission


def test_a_refusal_names_the_identity_in_use() -> None:
    source = user.Credentials(token="t")
    cloud = Cloud(project="p", credentials=acting_as(source, ACCOUNT))
    told = refused.told_of(TerraformFailed("Error 403: Permission 'run.jobs.create' denied on it"), cloud)
    assert isinstance(told, TerraformFailed)
    assert f"{ACCOUNT} (an impersonated service account), which lacks run.jobs.create" in told.what
    assert "--impersonate" in told.do
    other = JobFailed("the job said: Permission 'run.jobs.create' denied", do="See its log.")
    assert refused.told_of(other, cloud) is other
    assert refused.told_of(CloudRefused("No."), cloud).what == "No."
