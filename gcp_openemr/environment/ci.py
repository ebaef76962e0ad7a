"""`[ci]`: the pipeline that may plan, deploy and destroy, and from where."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from gcp_openemr.environment.problems import Fault, Wrong
from gcp_openemr.environment.sections import Section

__all__ = ["ISSUERS", "Ci"]

ISSUERS = {"github": "https://token.actions.githubusercontent.com", "gitlab": "https://gitlab.com"}
"""Who signs the tokens of a provider's jobs, where it is not self-managed."""

_PART = r"[A-Za-z0-9_.][A-Za-z0-9_.-]*"
_REPOSITORY = re.compile(rf"{_PART}(/{_PART})+")
# What git and both providers take, without what has a meaning in CEL, a shell or a principal's name.
_BRANCH = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._/-]{0,99}(?<![./])")
_ENVIRONMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,49}")
# Google takes 127 bytes of a token's subject (google.subject in
# https://cloud.google.com/iam/docs/reference/rest/v1/projects.locations.workloadIdentityPools.providers).
_LONGEST_SUBJECT = 127


def _check_branch(value: str) -> str:
    if not _BRANCH.fullmatch(value):
        raise Wrong(Fault(text="is not the name of one branch", hint='write e.g. branch = "main", without refs/heads/'))
    if value.startswith("refs/"):
        raise Wrong(Fault(text="is a ref", hint=f'write branch = "{value.removeprefix("refs/heads/")}"'))
    return value


def _check_environment(value: str) -> str:
    if value and not _ENVIRONMENT.fullmatch(value):
        raise Wrong(Fault(text="is not the name of an environment", hint="take letters, digits, . _ / and -"))
    return value


def _check_number(value: str) -> str:
    if value and not (value.isascii() and value.isdecimal()):
        hint = "see id in https://api.github.com/repos/OWNER/NAME, or GitLab's project ID"
        raise Wrong(Fault(text="is not the number of a repository", hint=hint))
    return value


class Ci(Section):
    """`[ci]`. Without it there are no identities for a pipeline.

    `repository` is OWNER/NAME, in GitLab GROUP/…/PROJECT. A deploy comes from `branch` and runs in `environment`
    of the provider ('': in none), a destroy in `destroy_environment`. `issuer` is '' for the providers' own sites;
    `repository_id`, where given, keeps out a repository that took over the name.
    """

    provider: Literal["github", "gitlab", "cloudbuild"] = Field(examples=["github"])
    issuer: str = ""
    branch: Annotated[str, AfterValidator(_check_branch)] = "main"
    environment: Annotated[str, AfterValidator(_check_environment)] = ""
    destroy_environment: Annotated[str, AfterValidator(_check_environment)] = "destroy"
    repository_id: Annotated[str, AfterValidator(_check_number)] = ""
    repository: str = Field(examples=["my-clinic/openemr"])

    @property
    def issuer_uri(self) -> str:
        """Who signs a job's token; '' where nothing is federated: Cloud Build is Google's own."""
        return self.issuer or ISSUERS.get(self.provider, "")

    @field_validator("issuer")
    @classmethod
    def _check_issuer(cls, value: str, info: ValidationInfo) -> str:
        if not value:
            return value
        if info.data.get("provider") == "cloudbuild":
            text = "has no meaning with Cloud Build, whose builds are Google's own"
            raise Wrong(Fault(text=text, hint="leave it out", related=("provider",)))
        url = urlsplit(value)
        if url.scheme != "https" or not url.hostname or url.query or url.fragment or value.endswith("/"):
            hint = 'write e.g. "https://gitlab.example.org", as the iss of its tokens says'
            raise Wrong(Fault(text="is not the address of an issuer of tokens", hint=hint))
        return value

    @field_validator("environment")
    @classmethod
    def _check_use(cls, value: str, info: ValidationInfo) -> str:
        if value and info.data.get("provider") == "cloudbuild":
            text = "has no meaning with Cloud Build: a trigger's own approval stands for it"
            raise Wrong(Fault(text=text, hint="leave it out", related=("provider",)))
        return value

    @field_validator("destroy_environment")
    @classmethod
    def _check_difference(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("environment", ""):
            text = "must differ from environment, or every deploy could destroy"
            raise Wrong(Fault(text=text, hint='write e.g. "destroy"', related=("environment",)))
        return value

    @field_validator("repository")
    @classmethod
    def _check_repository(cls, value: str, info: ValidationInfo) -> str:
        provider = info.data.get("provider")
        example = '"GROUP/PROJECT"' if provider == "gitlab" else '"OWNER/NAME"'
        if not _REPOSITORY.fullmatch(value) or (provider != "gitlab" and value.count("/") != 1):
            raise Wrong(Fault(text="is not the name of a repository", hint=f"write e.g. {example}, without a host"))
        longest = max((info.data.get(key, "") for key in ("environment", "destroy_environment", "branch")), key=len)
        subject = f"project_path:{value}:ref_type:branch:ref:{longest}"
        if len(subject) > _LONGEST_SUBJECT:
            text = f"makes tokens whose subject is longer than the {_LONGEST_SUBJECT} characters that Google takes"
            raise Wrong(Fault(text=text, hint="take shorter names"))
        return value
