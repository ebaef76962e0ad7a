"""When an environment for review ends: by the label of what was deployed, and never without one."""

from __future__ import annotations

import datetime
import io
import json
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.clients import Cloud
from gcp_openemr.commands import lifetime, state
from gcp_openemr.commands.context import Context
from gcp_openemr.console import Console
from gcp_openemr.environment.load import parse_environment
from gcp_openemr.errors import UsageError
from gcp_openemr.variables import foundation_variables
from tests.rehearsal.place import PROJECT, environment_file

TODAY = datetime.datetime.now(datetime.UTC).date()


def deployed(cloud: Cloud, *days: int | None) -> tuple[Context, io.StringIO]:
    """An environment with a resource for each of `days`, which ends so many days from today, or has no label."""
    results = io.StringIO()
    context = Context(
        environment=parse_environment(
            environment_file().replace(PROJECT, cloud.project), file="openemr.toml", overrides={}
        ),
        cloud=cloud,
        console=Console(people=io.StringIO(), results=results),
        workspace=Path(),
        terraform=Path(),
    )
    state.ensure_bucket(context)
    bucket = cloud.storage.bucket(context.environment.names.state_bucket)
    labels = [{} if after is None else {"expires": str(TODAY + datetime.timedelta(days=after))} for after in days]
    labelled = [{"user_labels": one} for one in labels]
    for root, attributes in (("foundation", [{"labels": {}}]), ("platform", labelled)):
        bucket.blob(f"test/{root}/default.tfstate").upload_from_string(json.dumps(in_state(attributes)))
    return context, results


def in_state(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    instances = [{"attributes": one} for one in attributes]
    resource = {"mode": "managed", "type": "google_x", "name": "default", "instances": instances}
    return {"resources": [resource] if attributes else [], "outputs": {}}


@pytest.mark.parametrize(
    ("days", "over"),
    [((-1, -1), True), ((-400,), True), ((0,), False), ((-1, 3), False), ((None, -1), True), ((), True)],
)
def test_it_ends_after_the_day_that_it_was_deployed_with(
    cloud: Cloud, days: tuple[int | None, ...], over: bool
) -> None:
    context, results = deployed(cloud, *days)
    assert lifetime.is_over(context) is over
    assert ("stays until the end of" in results.getvalue()) is not over


def test_without_a_label_nothing_ends_by_itself(cloud: Cloud) -> None:
    context, _ = deployed(cloud, None)
    with pytest.raises(UsageError, match="so it stays"):
        lifetime.is_over(context)


def test_what_outlives_a_teardown_has_no_day_to_end() -> None:
    variable = {"GCP_OPENEMR_ENVIRONMENT_LABELS": '{"expires": "2026-11-25", "team": "it"}'}
    environment = parse_environment(environment_file(), file="openemr.toml", overrides=variable)
    assert environment.labels["expires"] == "2026-11-25"
    assert foundation_variables(environment)["labels"] == {
        "managed-by": "gcp-openemr",
        "environment": "test",
        "team": "it",
    }
