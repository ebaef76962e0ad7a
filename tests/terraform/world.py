"""A cloud to plan and apply against: the sandbox's APIs in a process of their own, and its provider."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gcp_openemr import process
from gcp_openemr.render import render
from gcp_openemr.sandbox.api.iam import Tokens
from gcp_openemr.sandbox.api.store import Store
from gcp_openemr.sandbox.provider.mirror import write_mirror
from gcp_openemr.variables import SERVICES
from tests.attached import SETTINGS, attached_provider
from tests.terraform import samples

__all__ = ["Cloud", "Resource", "Root", "resources"]

Json = dict[str, Any]
DEPLOYER = f"deployer@{samples.PROJECT}.iam.gserviceaccount.com"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource of a plan. `values` are the planned ones; what is known only after apply is missing."""

    address: str
    type: str
    values: Mapping[str, Any]


class Cloud:
    """The APIs, reached as their owner."""

    def __init__(self, directory: Path) -> None:
        # Before the server has the store to itself.
        store = Store(directory / "state.sqlite3")
        self._tokens = Tokens(store, directory / "operator-token")
        store.close()
        command = [sys.executable, "-m", "gcp_openemr.sandbox.api", "--state", str(directory)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().split()[0]
        self._closing = contextlib.ExitStack()
        self.environment = {
            **write_mirror(directory, python=sys.executable, url=self.url),
            **self._closing.enter_context(attached_provider()),
            "GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT": f"{self.url}/storage/v1/",
            "GOOGLE_OAUTH_ACCESS_TOKEN": self._tokens.operator,
            "TF_IN_AUTOMATION": "1",
            "GOGC": "400",  # seldom collected: these runs are short, and many
        }

    def tell_provider(self) -> None:
        """Terraform's backend reads its own environment, the attached provider this process's."""
        for name in SETTINGS:
            os.environ[name] = self.environment[name]

    def become_deployer(self, permissions: Collection[str]) -> None:
        """From here on Terraform runs as a service account that has these permissions on the project, and no other."""
        name, email = DEPLOYER.partition("@")[0], DEPLOYER
        project = f"projects/{samples.PROJECT}"
        for service in ("iam", "cloudresourcemanager"):
            self.call("POST", f"serviceusage.googleapis.com/v1/{project}/services/{service}.googleapis.com:enable", {})
        self.call("POST", f"iam.googleapis.com/v1/{project}/serviceAccounts", {"accountId": name})
        role = {"title": name, "includedPermissions": sorted(permissions)}
        made = self.call("POST", f"iam.googleapis.com/v1/{project}/roles", {"roleId": name, "role": role})
        policy = self.call("POST", f"cloudresourcemanager.googleapis.com/v3/{project}:getIamPolicy", {})
        policy.setdefault("bindings", []).append({"role": made["name"], "members": [f"serviceAccount:{email}"]})
        self.call("POST", f"cloudresourcemanager.googleapis.com/v3/{project}:setIamPolicy", {"policy": policy})
        self.environment["GOOGLE_OAUTH_ACCESS_TOKEN"] = self._tokens.mint(email)

    def close(self) -> None:
        self._closing.close()
        for name in SETTINGS:
            os.environ.pop(name, None)
        self._process.terminate()
        self._process.wait(20)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def call(self, method: str, path: str, body: Json | None = None, *, account: str = "") -> Json:
        """Call as the operator, or as a service account of the project by its short name. Raises HTTPError."""
        email = f"{account}@{samples.PROJECT}.iam.gserviceaccount.com"
        token = self._tokens.mint(email) if account else self._tokens.operator
        request = urllib.request.Request(  # noqa: S310 - the address is ours
            f"{self.url}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
            answer: Json = json.loads(response.read() or b"{}")
        return answer

    def may(self, account: str, method: str, path: str, body: Json | None) -> bool:
        """Whether a call as that account is let through, whatever becomes of it."""
        try:
            self.call(method, path, body, account=account)
        except urllib.error.HTTPError as error:
            with error:
                return error.code not in (401, 403)
        return True

    def make_state_bucket(self) -> None:
        """As the orchestrator does before the first `terraform init`: the APIs come with it."""
        services = f"serviceusage.googleapis.com/v1/projects/{samples.PROJECT}/services:batchEnable"
        self.call("POST", services, {"serviceIds": list(SERVICES)})
        body = {"name": samples.NAMES.state_bucket, "location": samples.REGION.upper()}
        self.call("POST", f"storage/v1/b?project={samples.PROJECT}", body)

    def add_secret_version(self, secret: str, value: str) -> None:
        payload = {"payload": {"data": base64.b64encode(value.encode()).decode()}}
        self.call("POST", f"secretmanager.googleapis.com/v1/{secret}:addVersion", payload)


class Root:
    """A rendered root with its state in the cloud's bucket. `path` is below the environment."""

    def __init__(self, cloud: Cloud, kind: str, directory: Path, *, path: str = "") -> None:
        self._cloud = cloud
        self._kind = kind
        self._path = path or kind
        self.directory = directory

    def render(self, variables: Json) -> None:
        render(
            self._kind,
            environment_name=samples.ENVIRONMENT,
            state_bucket=samples.NAMES.state_bucket,
            state_prefix=f"{samples.ENVIRONMENT}/{self._path}",
            variables=variables,
            into=self.directory,
        )
        if not (self.directory / ".terraform").exists():
            self.terraform("init", "-input=false")

    def terraform(self, *arguments: str, check: bool = True) -> process.Completed:
        self._cloud.tell_provider()
        return process.run(
            ["terraform", *arguments], env=self._cloud.environment, cwd=self.directory, check=check, timeout=300
        )

    def plan(self, variables: Json) -> Json:
        """The plan as `terraform show -json` tells it, from the state as it is."""
        self.render(variables)
        self.terraform("plan", "-input=false", "-lock=false", "-refresh=false", "-out=tfplan")
        plan: Json = json.loads(self.terraform("show", "-json", "tfplan").stdout)
        return plan

    def refusal(self, variables: Json) -> str:
        """What Terraform says to values that it does not plan with, on one line."""
        self.render(variables)
        refused = self.terraform("plan", "-input=false", "-lock=false", "-no-color", check=False)
        assert refused.status == 1, refused.stdout
        return " ".join(refused.stderr.replace("│", " ").split())

    def apply(self, variables: Json) -> Json:
        """Apply and return the outputs."""
        self.render(variables)
        self.terraform("apply", "-input=false", "-auto-approve")
        outputs = json.loads(self.terraform("output", "-json").stdout)
        return {name: output["value"] for name, output in outputs.items()}

    def changes(self) -> Sequence[str]:
        """Address and actions of what a further plan would change."""
        seen = self.terraform("plan", "-input=false", "-detailed-exitcode", "-out=tfplan", check=False)
        if seen.status == 0:
            return []
        assert seen.status == 2, seen.stderr
        plan = json.loads(self.terraform("show", "-json", "tfplan").stdout)
        changes = plan.get("resource_changes", [])
        return [f"{c['address']} {c['change']['actions']}" for c in changes if c["change"]["actions"] != ["no-op"]]

    def destroy(self) -> process.Completed:
        return self.terraform("destroy", "-input=false", "-auto-approve", check=False)

    def addresses(self) -> Sequence[str]:
        return self.terraform("state", "list").stdout.split()


def resources(plan: Json, *types: str) -> list[Resource]:
    """A plan's resources, or those of some types."""
    found = _walk(plan["planned_values"]["root_module"])
    return [resource for resource in found if not types or resource.type in types]


def _walk(module: Json) -> Iterator[Resource]:
    for resource in module.get("resources", []):
        if resource["mode"] == "managed":
            yield Resource(address=resource["address"], type=resource["type"], values=resource["values"])
    for child in module.get("child_modules", []):
        yield from _walk(child)
