"""Which secret version is current, over the wire with Google's own client."""

from __future__ import annotations

import pytest
from google.api_core.exceptions import NotFound
from google.cloud import secretmanager_v1
from google.protobuf.field_mask_pb2 import FieldMask

from gcp_openemr import secret_store
from gcp_openemr.clients import Cloud
from gcp_openemr.errors import CloudRefused
from gcp_openemr.redacted import Redacted
from gcp_openemr.secret_store import Secret
from tests.unit.cloud import PROJECT


@pytest.fixture
def name(cloud: Cloud) -> str:
    secret = secretmanager_v1.Secret(replication={"automatic": {}})
    cloud.secrets.create_secret(parent=f"projects/{PROJECT}", secret_id="db", secret=secret)
    return "db"


def test_the_first_deploy_makes_a_version_and_later_ones_keep_it(cloud: Cloud, name: str) -> None:
    assert secret_store.current_version(cloud, name) is None
    first = secret_store.ensure(cloud, name, lambda: Redacted("one"))
    again = secret_store.ensure(cloud, name, lambda: Redacted("two"))
    assert first == again == Secret(name=name, version=1)
    assert secret_store.read(cloud, again) == Redacted("one")


def test_a_deploy_that_died_before_the_alias_is_continued_with_its_version(cloud: Cloud, name: str) -> None:
    secret_store.add(cloud, name, Redacted("one"))
    assert secret_store.ensure(cloud, name, lambda: Redacted("two")).version == 1


def test_a_version_that_a_rotation_added_is_not_current_before_the_alias_moves(cloud: Cloud, name: str) -> None:
    secret_store.ensure(cloud, name, lambda: Redacted("one"))
    assert secret_store.add(cloud, name, Redacted("two")) == 2
    assert secret_store.current_version(cloud, name) == 1


def test_a_current_version_that_was_disabled_by_hand_is_an_error_and_no_silent_switch(cloud: Cloud, name: str) -> None:
    secret_store.ensure(cloud, name, lambda: Redacted("one"))
    secret_store.add(cloud, name, Redacted("two"))
    cloud.secrets.disable_secret_version(name=f"projects/{PROJECT}/secrets/{name}/versions/1")
    with pytest.raises(CloudRefused, match="version 1 is disabled") as caught:
        secret_store.current_version(cloud, name)
    assert "gcloud secrets versions enable 1" in caught.value.do


def test_other_aliases_stay(cloud: Cloud, name: str) -> None:
    secret_store.add(cloud, name, Redacted("one"))
    path = f"projects/{PROJECT}/secrets/{name}"
    mine = secretmanager_v1.Secret(name=path, version_aliases={"mine": 1})
    cloud.secrets.update_secret(secret=mine, update_mask=FieldMask(paths=["version_aliases"]))
    secret_store.ensure(cloud, name, lambda: Redacted("two"))
    assert dict(cloud.secrets.get_secret(name=path).version_aliases) == {"mine": 1, "current": 1}


def test_a_destroyed_version_is_told_without_its_value(cloud: Cloud, name: str) -> None:
    made = secret_store.ensure(cloud, name, lambda: Redacted("one"))
    cloud.secrets.destroy_secret_version(name=f"projects/{PROJECT}/secrets/{name}/versions/1")
    with pytest.raises(CloudRefused, match="db version 1 cannot be read"):
        secret_store.read(cloud, made)


def test_a_current_version_that_was_destroyed_is_replaced_by_hand_and_never_by_itself(cloud: Cloud, name: str) -> None:
    """A deploy that made another one would hide that backups cannot be read any more."""
    secret_store.ensure(cloud, name, lambda: Redacted("one"))
    cloud.secrets.destroy_secret_version(name=f"projects/{PROJECT}/secrets/{name}/versions/1")
    with pytest.raises(CloudRefused, match="version 1 is disabled or destroyed") as caught:
        secret_store.ensure(cloud, name, lambda: Redacted("two"))
    assert "--update-version-aliases=current=VERSION" in caught.value.do


def test_a_secret_that_is_missing_is_googles_own_error(cloud: Cloud) -> None:
    with pytest.raises(NotFound):
        secret_store.current_version(cloud, "nothing")
