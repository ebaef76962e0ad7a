from __future__ import annotations

from pathlib import Path

import pytest

from gcp_openemr import assets
from gcp_openemr.errors import GcpOpenemrError


def test_a_checkout_has_them_beside_the_package() -> None:
    assert (assets.asset("terraform") / "platform" / "main.tf.j2").is_file()


def test_a_wheels_own_come_before_its_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("terraform", "gcp_openemr/_assets/terraform"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(assets, "_PACKAGE", tmp_path / "gcp_openemr")
    monkeypatch.setattr(assets, "_CARRIED", tmp_path / "gcp_openemr/_assets")
    assert assets.asset("terraform") == tmp_path / "gcp_openemr/_assets/terraform"


def test_says_what_is_missing() -> None:
    with pytest.raises(GcpOpenemrError, match="no terraforms/ folder"):
        assets.asset("terraforms")
