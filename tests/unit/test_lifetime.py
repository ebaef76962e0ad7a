"""When an environment for review ends: by the label of its state bucket, and never without one."""

from __future__ import annotations

import datetime
import io
from pathlib import Path

import pytest

from gcp_openemr.clients import Cloud
from gcp_openemr.commands import lifetime, state
from gcp_openemr.commands.context import Context
from gcp_openemr.console import Console
from gcp_openemr.environment.load import parse_environment
from gcp_openemr.errors import UsageError
from tests.rehearsal.place import PROJECT, environment_file


def deployed(cloud: Cloud, days: int | None) -> tuple[Context, io.StringIO]:
    """An environment that was deployed to last so many days from today, or without a label that says so."""
    last = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=days or 0)
    labels = "" if days is None else f'labels = {{ expires = "{last}" }}'
    text = environment_file().replace(PROJECT, cloud.project).replace("\n\n[openemr]", f"\n{labels}\n\n[openemr]")
    results = io.StringIO()
    context = Context(
        environment=parse_environment(text, file="openemr.toml", overrides={}),
        cloud=cloud,
        console=Console(people=io.StringIO(), results=results),
        workspace=Path(),
        terraform=Path(),
    )
    state.ensure_bucket(context)
    return context, results


@pytest.mark.parametrize(("days", "over"), [(-1, True), (-400, True), (0, False), (3, False)])
def test_it_ends_after_the_day_that_it_was_deployed_with(cloud: Cloud, days: int, over: bool) -> None:
    context, results = deployed(cloud, days)
    assert lifetime.is_over(context) is over
    assert ("stays until the end of" in results.getvalue()) is not over


def test_without_a_label_nothing_ends_by_itself(cloud: Cloud) -> None:
    context, _ = deployed(cloud, None)
    with pytest.raises(UsageError, match="so it stays"):
        lifetime.is_over(context)
