"""Images: which there are, what they hold, how a container starts from one.

An image is layers and a configuration, as in the Open Container Initiative's format: `images/<digest>/config.json`
names directories of `images/layers/`. A layer's name is the SHA-256 of its content, an image's digest that of its
configuration, so the same source gives the same digest. Modification times do not count.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gcp_openemr.sandbox.interfaces import Refused

__all__ = ["Image", "Images", "layer_digest"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Image:
    """What a container needs of an image. `layers` from the lowest up; `user` is (uid, gid)."""

    layers: tuple[str, ...]
    environment: Mapping[str, str]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    directory: str = "/"
    user: tuple[int, int] = (0, 0)
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    ports: tuple[str, ...] = ()

    def digest(self) -> str:
        """`sha256:…` over the configuration, and through the layers' names over all content."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


class Images:
    """The registry's content on disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.layers = directory / "layers"

    def layer_paths(self, image: Image) -> list[Path]:
        """The directories of an image's layers, lowest first."""
        return [self.layers / name for name in image.layers]

    def keep_layer(self, made: Path) -> str:
        """Move a finished layer to its place and return its name."""
        name = layer_digest(made)
        self.layers.mkdir(parents=True, exist_ok=True)
        try:
            made.rename(self.layers / name)
        except OSError:  # it is there: the same content was built before
            shutil.rmtree(made)
        return name

    def push(self, reference: str, image: Image) -> str:
        """Keep an image under `HOST/PROJECT/REPOSITORY/NAME:TAG`; returns its digest."""
        digest = image.digest()
        folder = self.directory / digest.removeprefix("sha256:")
        folder.mkdir(parents=True, exist_ok=True)
        repository, _, tag = reference.rpartition(":")
        stored = self._read(folder)
        names = sorted({*stored.get("references", []), f"{repository}:{tag}"})
        content = {"config": dataclasses.asdict(image), "references": names}
        partial = folder / "config.json.partial"
        partial.write_text(json.dumps(content, indent=1, sort_keys=True), encoding="utf-8")
        partial.replace(folder / "config.json")
        return digest

    def prune(self) -> None:
        """Delete layers that belong to no image: those of stages that were only copied from."""
        used = {name for folder in self._folders() for name in self._read(folder)["config"]["layers"]}
        for layer in self.layers.iterdir() if self.layers.is_dir() else ():
            if layer.name not in used:
                shutil.rmtree(layer)

    def find(self, reference: str) -> Image:
        """The image of `REPOSITORY@sha256:…`, or of `REPOSITORY:TAG` as pushed last.

        Raises:
            Refused: nothing of that name was pushed.
        """
        repository, _, digest = reference.partition("@sha256:")
        if digest:
            stored = self._read(self.directory / digest)
            if any(name.rpartition(":")[0] == repository for name in stored.get("references", [])):
                return _image(stored["config"])
        else:
            named = reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"
            folders = [path for path in self._folders() if named in self._read(path)["references"]]
            if folders:
                newest = max(folders, key=lambda path: (path / "config.json").stat().st_mtime_ns)
                return _image(self._read(newest)["config"])
        raise Refused(f"Image '{reference}' not found.", code=5)

    def _folders(self) -> Iterator[Path]:
        if self.directory.is_dir():
            yield from (path for path in self.directory.iterdir() if (path / "config.json").is_file())

    @staticmethod
    def _read(folder: Path) -> dict[str, Any]:
        path = folder / "config.json"
        if not path.is_file():
            return {}
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return read


def _image(config: Mapping[str, Any]) -> Image:
    tuples = ("layers", "entrypoint", "command", "user", "ports")
    return Image(**{**config, **{name: tuple(config[name]) for name in tuples}})


def layer_digest(directory: Path) -> str:
    """SHA-256 over names, kinds, modes, owners, targets and contents of a tree."""
    whole = hashlib.sha256()
    for path in sorted(directory.rglob("*")):
        status = path.lstat()
        entry: list[object] = [
            str(path.relative_to(directory)),
            stat.S_IFMT(status.st_mode),
            stat.S_IMODE(status.st_mode),
            status.st_uid,
            status.st_gid,
            _content(path, status),
        ]
        whole.update(json.dumps(entry).encode("utf-8", "surrogateescape") + b"\n")
    return whole.hexdigest()


def _content(path: Path, status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(path)
    if stat.S_ISREG(status.st_mode):
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if stat.S_ISDIR(status.st_mode):
        # Overlay marks a directory that hides the one below it.
        return "opaque" if "trusted.overlay.opaque" in os.listxattr(path) else ""
    return str(status.st_rdev)
