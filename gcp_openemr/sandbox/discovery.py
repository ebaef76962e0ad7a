"""Google's API discovery documents as shipped with google-api-python-client: schemas and routes of every API.

Only the JSON files are read; googleapiclient itself is never imported, because that costs more than the whole
start of a Terraform provider. A document is read when first asked for and kept.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

__all__ = ["Discovery", "Method", "UnknownApi", "UnknownSchema", "load"]

Schema = Mapping[str, Any]

_PLACEHOLDER = re.compile(r"\{(\+?)(\w+)\}")


class UnknownApi(LookupError):
    """There is no discovery document of that API and version."""


class UnknownSchema(LookupError):
    """The API has no schema of that name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """One call of an API.

    `path` and `flat_path` are templates from the root of the host, service path included
    (`/v2/{+name}`, `/compute/v1/projects/{project}/regions/{region}/addresses`). `request` and `response` are schema
    names, "" when there is no body. `parameters` are those of the method only: name to
    `{"location": "path" | "query", "type", "format", "pattern", "enum", "required", "repeated"}`.
    `upload_path` is the template of a media upload, "" when there is none. `download` says that `alt=media` works.
    A token of any of `scopes` is enough.
    """

    id: str
    http_method: str
    path: str
    flat_path: str
    parameters: Mapping[str, Mapping[str, Any]]
    request: str
    response: str
    upload_path: str
    download: bool
    scopes: Sequence[str]

    @functools.cached_property
    def pattern(self) -> re.Pattern[str]:
        """Full match of a still percent-encoded path; one group per path parameter, shaped as Google's patterns say."""
        return _path_pattern(self.path, self.parameters)

    @functools.cached_property
    def upload_pattern(self) -> re.Pattern[str] | None:
        """Like `pattern`, for the media upload; None when the method has none."""
        return _path_pattern(self.upload_path, self.parameters) if self.upload_path else None

    def match(self, path: str) -> dict[str, str] | None:
        """Path parameters (decoded) when `path` (percent-encoded, without query) is this method's, else None."""
        found = self.pattern.fullmatch(path)
        return {name: unquote(value) for name, value in found.groupdict().items()} if found else None

    @property
    def literal_length(self) -> int:
        """Characters of the template that are no parameter; more of them is a closer match."""
        return len(_PLACEHOLDER.sub("", self.path))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Discovery:
    """One API at one version: `load("run", "v2")`."""

    api: str
    version: str
    host: str
    service_path: str
    document: Mapping[str, Any]

    def schema(self, name: str) -> Schema:
        """The schema as in the document: `{"id", "type": "object", "properties": {…: {"type" | "$ref", …}}}`.

        Raises:
            UnknownSchema: the API has none of that name.
        """
        try:
            found: Schema = self.document["schemas"][name]
        except KeyError:
            raise UnknownSchema(f"{self.api} {self.version} has no schema {name}") from None
        return found

    @functools.cached_property
    def methods(self) -> tuple[Method, ...]:
        """Every method; those with the most literal path first, so that the first match is the right one."""
        found: list[Method] = []
        self._collect(self.document, found)
        return tuple(sorted(found, key=lambda method: -method.literal_length))

    def method(self, method_id: str) -> Method:
        """By id (`run.projects.locations.services.patch`). Raises KeyError."""
        return self._by_id[method_id]

    def find(self, http_method: str, path: str) -> tuple[Method, dict[str, str]] | None:
        """The method that answers, with its path parameters; `path` is percent-encoded, from the root of the host.

        Some APIs have a method for any parent beside the one for projects; what is said of a project is the latter's.
        """
        found = [
            (method, parameters)
            for method in self.methods
            if method.http_method == http_method and (parameters := method.match(path)) is not None
        ]
        return min(found, key=lambda one: ".projects." not in one[0].id, default=None)

    def knows_path(self, path: str) -> bool:
        """Whether any HTTP method is served at the path (404 against 405)."""
        return any(method.match(path) is not None for method in self.methods)

    @functools.cached_property
    def common_parameters(self) -> Mapping[str, Mapping[str, Any]]:
        """Query parameters that every method of the API takes (`alt`, `fields`, `prettyPrint`, …)."""
        found: Mapping[str, Mapping[str, Any]] = self.document.get("parameters", {})
        return found

    @functools.cached_property
    def _by_id(self) -> dict[str, Method]:
        return {method.id: method for method in self.methods}

    def _collect(self, resource: Mapping[str, Any], found: list[Method]) -> None:
        found.extend(self._method(raw) for raw in resource.get("methods", {}).values())
        for child in resource.get("resources", {}).values():
            self._collect(child, found)

    def _method(self, raw: Mapping[str, Any]) -> Method:
        prefix = "/" + self.service_path.lstrip("/")
        path = prefix + raw["path"].lstrip("/")
        protocols = raw.get("mediaUpload", {}).get("protocols", {})
        return Method(
            id=raw["id"],
            http_method=raw["httpMethod"],
            path=path,
            flat_path=prefix + raw["flatPath"].lstrip("/") if "flatPath" in raw else path,
            parameters=raw.get("parameters", {}),
            request=raw.get("request", {}).get("$ref", ""),
            response=raw.get("response", {}).get("$ref", ""),
            upload_path=protocols.get("simple", {}).get("path", ""),
            download=bool(raw.get("supportsMediaDownload", False)),
            scopes=raw.get("scopes", ()),
        )


@functools.cache
def load(api: str, version: str) -> Discovery:
    """Read a document, or return the one already read.

    Raises:
        UnknownApi: there is none, or google-api-python-client is not installed.
    """
    path = _documents() / f"{api}.{version}.json"
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UnknownApi(f"no discovery document for {api} {version}") from None
    return Discovery(
        api=api,
        version=version,
        host=document["rootUrl"].removeprefix("https://").rstrip("/"),
        service_path=document["servicePath"],
        document=document,
    )


@functools.cache
def _documents() -> Path:
    package = importlib.util.find_spec("googleapiclient")
    if package is None or not package.submodule_search_locations:
        raise UnknownApi("google-api-python-client is not installed")
    return Path(package.submodule_search_locations[0]) / "discovery_cache" / "documents"


def _path_pattern(template: str, parameters: Mapping[str, Mapping[str, Any]]) -> re.Pattern[str]:
    parts: list[str] = []
    end = 0
    for found in _PLACEHOLDER.finditer(template):
        parts.append(re.escape(template[end : found.start()]))
        shape = r"[^/]+"
        if found.group(1):
            # Only `{+name}` spans segments; its pattern is the one that tells routes of one template apart.
            google = parameters.get(found.group(2), {}).get("pattern", ".+")
            shape = google.removeprefix("^").removesuffix("$")
        parts.append(f"(?P<{found.group(2)}>{shape})")
        end = found.end()
    parts.append(re.escape(template[end:]))
    return re.compile("".join(parts))
