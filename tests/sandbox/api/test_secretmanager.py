"""Secret Manager over the wire with Google's client."""

from __future__ import annotations

import time
from typing import Any

import google_crc32c
import pytest
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.cloud import secretmanager_v1
from google.oauth2.credentials import Credentials

from gcp_openemr.sandbox.interfaces import Refused
from tests.sandbox.api.support import PROJECT, Cloud

PARENT = f"projects/{PROJECT}"
NAME = f"{PARENT}/secrets/db-password"


@pytest.fixture
def client(cloud: Cloud, credentials: Credentials) -> Any:
    endpoint = ClientOptions(api_endpoint=f"{cloud.url}/secretmanager.googleapis.com")
    return secretmanager_v1.SecretManagerServiceClient(
        credentials=credentials, transport="rest", client_options=endpoint
    )


@pytest.fixture
def secret(client: Any) -> Any:
    return client.create_secret(parent=PARENT, secret_id="db-password", secret={"replication": {"automatic": {}}})


def add(client: Any, data: bytes) -> str:
    payload = {"data": data, "data_crc32c": google_crc32c.value(data)}
    return str(client.add_secret_version(parent=NAME, payload=payload).name)


def read(client: Any, version: str) -> bytes:
    answer = client.access_secret_version(name=f"{NAME}/versions/{version}")
    assert answer.payload.data_crc32c == google_crc32c.value(answer.payload.data)
    return bytes(answer.payload.data)


def test_versions_count_up_and_are_read_by_number_alias_and_latest(
    client: Any, secret: secretmanager_v1.Secret
) -> None:
    assert secret.name.split("/")[1].isdigit()
    for number in range(1, 13):
        assert add(client, f"value {number}".encode()) == f"{secret.name}/versions/{number}"
    assert read(client, "3") == b"value 3"
    assert read(client, "latest") == b"value 12"
    aliased = client.update_secret(
        secret={"name": NAME, "version_aliases": {"current": 5}}, update_mask={"paths": ["version_aliases"]}
    )
    assert dict(aliased.version_aliases) == {"current": 5}
    assert read(client, "current") == b"value 5"
    numbers = [
        version.name.rpartition("/")[2]
        for version in client.list_secret_versions(request={"parent": NAME, "page_size": 5})
    ]
    assert numbers == [str(number) for number in range(12, 0, -1)]


def test_states_move_as_google_moves_them(client: Any, secret: secretmanager_v1.Secret) -> None:
    name = add(client, b"x")
    assert client.disable_secret_version(name=name).state.name == "DISABLED"
    with pytest.raises(exceptions.BadRequest, match="is in DISABLED state"):
        read(client, "1")
    assert client.enable_secret_version(name=name).state.name == "ENABLED"
    destroyed = client.destroy_secret_version(name=name)
    assert destroyed.state.name == "DESTROYED"
    assert destroyed.destroy_time
    for change in (client.enable_secret_version, client.destroy_secret_version):
        with pytest.raises(exceptions.BadRequest, match="is in DESTROYED state"):
            change(name=name)
    with pytest.raises(exceptions.BadRequest, match="is in DESTROYED state"):
        read(client, "latest")


def test_delayed_destruction_can_be_taken_back(client: Any) -> None:
    secret: dict[str, Any] = {"replication": {"automatic": {}}, "version_destroy_ttl": {"seconds": 86400}}
    client.create_secret(parent=PARENT, secret_id="db-password", secret=secret)
    name = add(client, b"x")
    waiting = client.destroy_secret_version(name=name)
    assert waiting.state.name == "DISABLED"
    assert waiting.scheduled_destroy_time
    client.enable_secret_version(name=name)
    assert read(client, "1") == b"x"


def test_only_who_is_bound_reads(cloud: Cloud, client: Any, secret: secretmanager_v1.Secret, account: str) -> None:
    add(client, b"x")
    token = cloud.app.mint_token(account)
    path = f"v1/{NAME}/versions/1:access"
    refused = cloud.call("GET", "secretmanager", path, token=token)
    assert refused.status == 403
    assert refused.message == (
        f"Permission 'secretmanager.versions.access' denied for resource '{NAME}/versions/1' (or it may not exist)."
    )
    assert cloud.call("GET", "secretmanager", path, token="").status == 401
    member = f"serviceAccount:{account}"
    client.set_iam_policy(
        request={
            "resource": NAME,
            "policy": {"bindings": [{"role": "roles/secretmanager.secretAccessor", "members": [member]}]},
        }
    )
    assert cloud.call("GET", "secretmanager", path, token=token).body["payload"]["data"] == "eA=="
    assert (
        cloud.call("POST", "secretmanager", f"v1/{NAME}:addVersion", {"payload": {"data": "eA=="}}, token=token).status
        == 403
    )
    asked = {"permissions": ["secretmanager.versions.access", "secretmanager.versions.add"]}
    held = cloud.call("POST", "secretmanager", f"v1/{NAME}:testIamPermissions", asked, token=token)
    assert held.body == {"permissions": ["secretmanager.versions.access"]}


def test_a_deleted_secret_takes_everything_with_it(cloud: Cloud, client: Any, secret: secretmanager_v1.Secret) -> None:
    add(client, b"first life")
    client.delete_secret(name=NAME)
    assert cloud.app.store.query("SELECT * FROM payloads") == []
    client.create_secret(parent=PARENT, secret_id="db-password", secret={"replication": {"automatic": {}}})
    assert add(client, b"second life").endswith("/versions/1")
    assert read(client, "1") == b"second life"


def test_the_runtime_reads_by_the_same_rights(
    cloud: Cloud, client: Any, secret: secretmanager_v1.Secret, account: str
) -> None:
    add(client, b"x")
    member = f"serviceAccount:{account}"
    with pytest.raises(Refused, match=r"Permission denied on secret: projects/[0-9]+/secrets/db-password/versions/1"):
        cloud.app.access.secret(NAME, "1", member=member)
    client.set_iam_policy(
        request={
            "resource": NAME,
            "policy": {"bindings": [{"role": "roles/secretmanager.secretAccessor", "members": [member]}]},
        }
    )
    assert cloud.app.access.secret(NAME, "1", member=member) == "x"
    with pytest.raises(Refused, match="not found"):
        cloud.app.access.secret(NAME, "2", member=member)


def test_an_expired_secret_is_gone(cloud: Cloud, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    secret: dict[str, Any] = {"replication": {"automatic": {}}, "ttl": {"seconds": 3600}}
    made = client.create_secret(parent=PARENT, secret_id="db-password", secret=secret)
    add(client, b"x")
    assert made.expire_time.timestamp() > time.time()
    moment = time.time() + 3601
    monkeypatch.setattr(time, "time", lambda: moment)
    for gone in (f"v1/{NAME}", f"v1/{NAME}/versions/1:access"):
        assert cloud.call("GET", "secretmanager", gone).status == 404
    assert cloud.call("GET", "secretmanager", f"v1/{PARENT}/secrets").body == {}
    path = f"v1/{PARENT}/secrets?secretId=db-password"
    fresh = cloud.call("POST", "secretmanager", path, {"replication": {"automatic": {}}})
    assert fresh.status == 200
    assert cloud.app.store.query("SELECT * FROM payloads") == []
