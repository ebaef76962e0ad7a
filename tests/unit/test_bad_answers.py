"""A sample of a run with `--faults`: what a deploy does before Terraform, in a cloud that answers badly by a seed."""

from __future__ import annotations

import gc
import types
from pathlib import Path
from typing import Any

import pytest
from google.cloud import secretmanager_v1

from gcp_openemr import lock, secret_store
from gcp_openemr.commands import state
from gcp_openemr.redacted import Redacted
from gcp_openemr.secret_store import Secret
from tests import bad_days
from tests.unit.cloud import PROJECT, app_and_cloud

BUCKET = f"{PROJECT}-oe-prod-state"
SECRETS = ("database", "redis", "admin", "backup")
LOST = ({"effect": "drop", "after": True}, {"effect": "status", "status": 500, "after": True})


# A connection that was dropped is closed when it is collected, which happens here and not in a later test.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("seed", [5, *(pytest.param(seed, marks=pytest.mark.torture) for seed in range(10, 40))])
def test_the_first_steps_of_a_deploy_end_well(tmp_path: Path, seed: int) -> None:
    with app_and_cloud(tmp_path) as (app, cloud):
        for name in SECRETS:
            secret = secretmanager_v1.Secret(replication={"automatic": {}})
            cloud.secrets.create_secret(parent=f"projects/{PROJECT}", secret_id=name, secret=secret)
        bad_days.spoil(app.faults.add, seed=seed, chance=0.03)
        for number, kind in enumerate(LOST):
            app.faults.add({**kind, "probability": 0.02, "seed": seed + 10 + number})
        names = types.SimpleNamespace(state_bucket=BUCKET)
        environment = types.SimpleNamespace(
            project=PROJECT, region="europe-west1", lasting_labels={}, names=names, clinics={}
        )
        context: Any = types.SimpleNamespace(environment=environment, cloud=cloud)
        for value in ("first", "second"):
            state.ensure_apis(context)
            state.ensure_bucket(context)
            with lock.hold(cloud.storage.bucket(BUCKET), "prod", "deploy"):
                for name in SECRETS:
                    found = secret_store.ensure(cloud, name, lambda: Redacted(value))  # noqa: B023 -- called at once
                    assert found == Secret(name=name, version=1)
                    assert secret_store.read(cloud, found) == Redacted("first")
        struck = [entry.fault for entry in app.calls.read() if entry.fault]
        app.faults.clear()
        assert struck
        assert lock.read_holder(cloud.storage.bucket(BUCKET), "prod") is None
        assert cloud.storage.get_bucket(BUCKET).versioning_enabled
        for name in SECRETS:
            versions = cloud.secrets.list_secret_versions(parent=f"projects/{PROJECT}/secrets/{name}")
            assert len(list(versions)) == 1
    gc.collect()
