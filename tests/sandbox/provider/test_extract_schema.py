from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gcp_openemr.sandbox import provider
from gcp_openemr.sandbox.provider.extract_schema import DATA_SOURCES, RESOURCES, extract, parse

BINDING = """
function shelfBookToHclTerraform(struct) {
    const attrs = {
        title: {
            value: cdktn.stringToHclTerraform(struct.title),
            isBlock: false,
            type: "simple",
            storageClassType: "string",
        },
    };
}
class ShelfBookOutputReference extends cdktn.ComplexObject {
    // isbn - computed: true, optional: false, required: false
    get isbn() {
        return this.getStringAttribute('isbn');
    }
    // title - computed: false, optional: false, required: true
    get title() {
        return this.getStringAttribute('title');
    }
}
class ShelfBookList extends cdktn.ComplexList {
}
function shelfLampToHclTerraform(struct) {
    const attrs = {
        watts: {
            value: cdktn.numberToHclTerraform(struct.watts),
            isBlock: false,
            type: "simple",
            storageClassType: "number",
        },
    };
}
class ShelfLampOutputReference extends cdktn.ComplexObject {
    // watts - computed: false, optional: true, required: false
    get watts() {
        return this.getNumberAttribute('watts');
    }
}
class ShelfLoanOutputReference extends cdktn.ComplexObject {
    // due - computed: true, optional: false, required: false
    get due() {
        return this.getStringAttribute('due');
    }
}
class ShelfLoanList extends cdktn.ComplexList {
}
class Shelf extends cdktn.TerraformResource {
    static tfResourceType = "google_shelf";
            providerVersion: '1.2.3',
    // labels - computed: true, optional: true, required: false
    get labels() {
        return this.getStringMapAttribute('labels');
    }
    // places - computed: false, optional: true, required: false
    get places() {
        return cdktn.Fn.tolist(this.getListAttribute('places'));
    }
    // loan - computed: true, optional: false, required: false
    _loan = new ShelfLoanList(this, "loan", false);
    // book - computed: false, optional: false, required: true
    _book = new ShelfBookList(this, "book", true);
    // lamp - computed: false, optional: true, required: false
    _lamp = new ShelfLampOutputReference(this, "lamp");
    synthesizeHclAttributes() {
        const attrs = {
            labels: {
                value: cdktn.hashMapperHcl(cdktn.stringToHclTerraform)(this._labels),
                isBlock: false,
                type: "map",
                storageClassType: "stringMap",
            },
            places: {
                value: cdktn.listMapperHcl(cdktn.stringToHclTerraform, false)(this._places),
                isBlock: false,
                type: "set",
                storageClassType: "stringList",
            },
            book: {
                value: cdktn.listMapperHcl(shelfBookToHclTerraform, true)(this._book.internalValue),
                isBlock: true,
                type: "set",
                storageClassType: "ShelfBookList",
            },
            lamp: {
                value: shelfLampToHclTerraform(this._lamp.internalValue),
                isBlock: true,
                type: "list",
                storageClassType: "ShelfLampList",
            },
        };
    }
}
"""


def test_binding_becomes_a_block() -> None:
    terraform_type, kind, block = parse(BINDING)
    assert (terraform_type, kind) == ("google_shelf", "resource")
    assert block["attributes"] == {
        "labels": [["map", "string"], "co"],
        "loan": [["list", ["object", {"due": "string"}]], "c"],
        "places": [["set", "string"], "o"],
    }
    book = {"attributes": {"isbn": ["string", "c"], "title": ["string", "r"]}, "blocks": {}}
    lamp = {"attributes": {"watts": ["number", "o"]}, "blocks": {}}
    assert block["blocks"] == {"book": ["set", 1, 0, book], "lamp": ["list", 0, 1, lamp]}


def test_text_that_is_no_binding_is_refused() -> None:
    with pytest.raises(ValueError, match="no resource type"):
        parse("module.exports = {}")


def _wheel(path: Path, *, without: str = "") -> Path:
    package = io.BytesIO()
    with tarfile.open(fileobj=package, mode="w:gz") as archive:
        for name, base in [(n, "Resource") for n in RESOURCES] + [(n, "DataSource") for n in DATA_SOURCES]:
            folder = name.removeprefix("google_").replace("_", "-")
            if base == "DataSource":
                folder = "data-" + name.replace("_", "-")
            text = f'class X extends cdktn.Terraform{base} {{\n    static tfResourceType = "{name}";\n}}\n'
            content = (text + "// providerVersion: '1.2.3'\n").encode()
            member = tarfile.TarInfo(f"package/lib/{folder}/index.js")
            member.size = len(content)
            if name != without:
                archive.addfile(member, io.BytesIO(content))
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("x/_jsii/provider-google@1.jsii.tgz", package.getvalue())
    return path


def test_same_wheel_gives_the_same_bytes(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path / "a.whl")
    first = extract(wheel)
    assert first == extract(wheel)
    assert json.loads(gzip.decompress(first))["provider"] == "1.2.3"


def test_missing_type_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="google_compute_disk"):
        extract(_wheel(tmp_path / "a.whl", without="google_compute_disk"))


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    data = Path(provider.__path__[0]) / "schema.json.gz"
    loaded: dict[str, Any] = json.loads(gzip.decompress(data.read_bytes()))
    return loaded


def _blocks(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield block
    for _, _, _, nested in block["blocks"].values():
        yield from _blocks(nested)


def test_committed_data_says_where_it_comes_from(committed: dict[str, Any]) -> None:
    assert committed["provider"] == "8.7.0"
    assert "cdktn_provider_google-21.1.0" in committed["source"]
    assert committed["licence"].startswith("MPL-2.0")
    assert "Mozilla Public License" in (Path(provider.__path__[0]) / "NOTICE").read_text()


def test_committed_data_is_complete_and_well_formed(committed: dict[str, Any]) -> None:
    assert set(committed["resource"]) == set(RESOURCES)
    assert set(committed["data"]) == set(DATA_SOURCES)
    for terraform_type, block in committed["resource"].items():
        assert "id" in block["attributes"], terraform_type
        for nested in _blocks(block):
            assert not set(nested["attributes"]) & set(nested["blocks"])
            for name, (kind, flags) in nested["attributes"].items():
                assert re.fullmatch(r"r|o|c|co", flags), (terraform_type, name)
                assert kind in ("string", "number", "bool") or kind[0] in ("list", "set", "map"), (terraform_type, name)
            for nesting, least, most, _ in nested["blocks"].values():
                assert nesting in {"single", "list", "set"}
                assert least in {0, 1}
                assert most in {0, 1}


def test_committed_data_has_the_nesting_terraform_shows(committed: dict[str, Any]) -> None:
    service = committed["resource"]["google_cloud_run_v2_service"]
    nesting, least, most, template = service["blocks"]["template"]
    assert (nesting, least, most) == ("list", 1, 1)
    assert template["blocks"]["containers"][3]["blocks"]["env"][0] == "set"
    assert committed["resource"]["google_compute_firewall"]["attributes"]["source_ranges"] == [["set", "string"], "o"]
    assert service["blocks"]["timeouts"][0] == "single"
