"""Values that Google refuses or that would lose data are refused at plan time, in words that say what to write."""

from __future__ import annotations

from typing import Any

import pytest

from tests.terraform import samples
from tests.terraform.world import Root

VALUES = {"foundation": samples.foundation, "platform": samples.platform, "clinic": samples.clinic}
TAGGED = "europe-docker.pkg.dev/p/r/service:latest"


@pytest.mark.parametrize("kind", VALUES)
def test_roots_are_valid(kind: str, roots: dict[str, Root]) -> None:
    roots[kind].render(VALUES[kind]())
    assert "Success" in roots[kind].terraform("validate", "-no-color").stdout


@pytest.mark.parametrize("kind", VALUES)
def test_no_value_is_undeclared(kind: str, roots: dict[str, Root]) -> None:
    roots[kind].render(VALUES[kind]())
    assert "Warning" not in roots[kind].terraform("plan", "-no-color", "-input=false", "-lock=false").stdout


@pytest.mark.parametrize(
    ("kind", "changes", "sentence"),
    [
        ("foundation", {"services": ["run"]}, "such as run.googleapis.com"),
        ("platform", {"zone": "us-central1-a"}, "zone must lie in the region"),
        ("platform", {"network": {"cidr": "10.0.0.0/26"}}, "a range of /22 or larger"),
        ("platform", {"network": {"cidr": "ten"}}, "such as 10.60.0.0/22"),
        ("platform", {"database": {"availability_type": "GLOBAL"}}, "REGIONAL (a standby"),
        ("platform", {"database": {"backups": False}}, "A REGIONAL instance needs backups"),
        ("platform", {"database": {"database_version": "MYSQL_8_4"}}, "Only MYSQL_8_0 is known"),
        ("platform", {"files": {"disk_size_gb": 5}}, "at least 10 GB"),
        ("platform", {"provision": {"image": TAGGED}}, "by its digest"),
        ("platform", {"provision": {"redis_admin_version": "latest"}}, "Pin redis_admin_version"),
        ("clinic", {"images": {"service": TAGGED}}, "by their digest"),
        ("clinic", {"secret_versions": {"redis_password": "latest"}}, "Pin secrets to a version's number"),
        ("clinic", {"secret_versions": None}, "A service needs secret_versions"),
        ("clinic", {"restore": {"source": "ftp", "uri": "x"}}, 'source = "gcs" or source = "drive"'),
        ("clinic", {"restore": {"source": "gcs", "uri": "bucket/x.zip"}}, "as gs://BUCKET/OBJECT"),
        ("clinic", {"service": {"ingress": "INGRESS_TRAFFIC_ALL"}}, "Write ingress as all, internal or"),
        ("clinic", {"service": {"vpc_egress": "none"}}, "Write vpc_egress as"),
        ("clinic", {"service": {"min_instances": 4}}, "not less than min_instances"),
        ("clinic", {"service": {"timeout": 7200}}, "1 to 3600 seconds"),
    ],
)
def test_refuses(kind: str, changes: dict[str, Any], sentence: str, roots: dict[str, Root]) -> None:
    assert sentence in roots[kind].refusal(VALUES[kind](**changes))
