"""What must be there before Terraform."""

from __future__ import annotations

import types
from typing import Any

from gcp_openemr.clients import Cloud
from gcp_openemr.commands import state
from gcp_openemr.variables import SERVICES


def test_a_new_project_gets_the_apis_that_the_stack_calls(cloud: Cloud) -> None:
    context: Any = types.SimpleNamespace(environment=types.SimpleNamespace(project="a-new-project"), cloud=cloud)
    place = "v1/projects/a-new-project/services"
    for _ in range(2):
        state.ensure_apis(context)
        found = cloud.ask("serviceusage", place, filter="state:ENABLED", pageSize=200)["services"]
        assert set(SERVICES) <= {service["config"]["name"] for service in found}
