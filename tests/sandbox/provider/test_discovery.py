from __future__ import annotations

import subprocess
import sys

import pytest

from gcp_openemr.sandbox.discovery import UnknownApi, UnknownSchema, load


@pytest.mark.parametrize(
    ("api", "version", "http_method", "path", "method_id", "parameters"),
    [
        (
            "run",
            "v2",
            "GET",
            "/v2/projects/p/locations/l/services/s:getIamPolicy",
            "run.projects.locations.services.getIamPolicy",
            {"resource": "projects/p/locations/l/services/s"},
        ),
        (
            "storage",
            "v1",
            "GET",
            "/storage/v1/b/bucket/o/folder%2Fname",
            "storage.objects.get",
            {"bucket": "bucket", "object": "folder/name"},
        ),
        (
            "dns",
            "v1",
            "GET",
            "/dns/v1/projects/p/managedZones/z/rrsets/a.b./A",
            "dns.resourceRecordSets.get",
            {"project": "p", "managedZone": "z", "name": "a.b.", "type": "A"},
        ),
    ],
)
def test_path_finds_its_method(
    api: str, version: str, http_method: str, path: str, method_id: str, parameters: dict[str, str]
) -> None:
    found = load(api, version).find(http_method, path)
    assert found is not None
    assert (found[0].id, found[1]) == (method_id, parameters)


def test_unknown_path_and_wrong_verb_are_told_apart() -> None:
    run = load("run", "v2")
    assert run.find("PUT", "/v2/projects/p/locations/l/services/s") is None
    assert run.knows_path("/v2/projects/p/locations/l/services/s")
    assert not run.knows_path("/v2/projects/p/nonsense/s")


def test_method_carries_request_response_and_upload() -> None:
    patch = load("run", "v2").method("run.projects.locations.services.patch")
    assert (patch.http_method, patch.request, patch.response) == (
        "PATCH",
        "GoogleCloudRunV2Service",
        "GoogleLongrunningOperation",
    )
    insert = load("storage", "v1").method("storage.objects.insert")
    assert insert.upload_path == "/upload/storage/v1/b/{bucket}/o"
    assert insert.upload_pattern is not None
    assert insert.upload_pattern.fullmatch("/upload/storage/v1/b/x/o")


def test_missing_documents_and_schemas_are_named() -> None:
    with pytest.raises(UnknownApi, match="nonsense v9"):
        load("nonsense", "v9")
    with pytest.raises(UnknownSchema, match="Nonsense"):
        load("run", "v2").schema("Nonsense")


def test_reading_does_not_import_the_client_library() -> None:
    code = (
        "import sys; from gcp_openemr.sandbox.discovery import load; load('run', 'v2').methods; "
        "sys.exit('googleapiclient' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
