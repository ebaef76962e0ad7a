"""Cloud Build's docker step: a Dockerfile's stages run for real, in containers without a network.

`RUN` lines are executed by busybox's shell on top of the stage; only what would need the network (apk, git, composer,
npm, pip) is stood in for, by scripts that say so.
"""

from __future__ import annotations

import dataclasses
import datetime
import glob
import io
import os
import shutil
import tarfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gcp_openemr.sandbox.interfaces import Json, Refused
from gcp_openemr.sandbox.runtime import namespaces
from gcp_openemr.sandbox.runtime.alpine import PARTS, Alpine
from gcp_openemr.sandbox.runtime.copying import copy, owner_of
from gcp_openemr.sandbox.runtime.dockerfile import Instruction, Stage, expand, parse, words
from gcp_openemr.sandbox.runtime.images import Image, Images
from gcp_openemr.sandbox.runtime.logs import Lines
from gcp_openemr.sandbox.runtime.processes import Bind, Containers, Spec

__all__ = ["DockerBuild", "Target", "docker_arguments", "run_build"]

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DOCKER = "gcr.io/cloud-builders/docker"
_BUILD_SECONDS = 3600.0
# the images that are Alpine's or made on it; what the other two bring is Debian's or stood in for
_BASES = ("alpine", "composer", "node")

Log = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """What one `docker build` was asked for. An empty `target` means the last stage."""

    tags: Sequence[str]
    target: str
    file: str
    arguments: Mapping[str, str]


@dataclasses.dataclass(kw_only=True)
class _Open:
    """A stage while it is built: its mounted root, its own layer, the configuration so far."""

    root: Path
    mounted: list[Path]
    layer: Path
    image: Image
    arguments: dict[str, str]

    def values(self) -> dict[str, str]:
        return {**self.arguments, **self.image.environment}

    def change(self, **changes: object) -> None:
        self.image = dataclasses.replace(self.image, **changes)  # type: ignore[arg-type]


def docker_arguments(arguments: Sequence[str]) -> Target:
    """Read the arguments of `docker build`.

    Raises:
        Refused: an option the sandbox does not know.
    """
    tags: list[str] = []
    found = {"target": "", "file": "Dockerfile"}
    given: dict[str, str] = {}
    rest = list(arguments[1:])
    while rest:
        word = rest.pop(0)
        name, has_value, value = word.partition("=")
        name = {"-t": "--tag", "-f": "--file"}.get(name, name)
        if not name.startswith("-"):
            continue
        if name in ("--no-cache", "--pull"):
            continue
        if name not in ("--tag", "--file", "--target", "--build-arg", "--platform", "--progress", "--cache-from"):
            raise Refused(f"unknown flag: {name}", code=3)
        value = value if has_value else rest.pop(0)
        if name == "--tag":
            tags.append(value)
        elif name == "--build-arg":
            key, _, text = value.partition("=")
            given[key] = text
        elif name in ("--file", "--target"):
            found[name[2:]] = value
    return Target(tags=tags, arguments=given, target=found["target"], file=found["file"])


class DockerBuild:
    """Builds the stages of one Dockerfile; each at most once. A context manager that cleans up after itself."""

    def __init__(
        self, *, images: Images, alpine: Alpine, containers: Containers, work: Path, mounts: Path, app: Path | None
    ) -> None:
        self._images = images
        self._alpine = alpine
        self._containers = containers
        self._work = work / uuid.uuid4().hex
        self._mounts = mounts / self._work.name
        self._app = app
        self._done: dict[str, _Open] = {}
        self._opened: list[_Open] = []

    def __enter__(self) -> DockerBuild:
        (self._work / "context").mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        for opened in self._opened:
            self._unmount(opened)
        shutil.rmtree(self._work)
        shutil.rmtree(self._mounts, ignore_errors=True)

    def unpack(self, archive: bytes) -> None:
        """Take the source (tar.gz) as the build's context."""
        try:
            with tarfile.open(fileobj=io.BytesIO(archive), mode="r:*") as source:
                # Debian 12's Python 3.11.2 has no filters and ignores this; the source is the deployer's own
                source.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
                source.extractall(self._work / "context")  # noqa: S202 - filtered one line above
        except (tarfile.TarError, OSError) as error:
            raise Refused(f"the source cannot be unpacked: {error}", code=3) from error

    def build(self, target: Target, log: Log, *, timeout: float = _BUILD_SECONDS) -> Image:
        """Build one target and return its image.

        Raises:
            Refused: the Dockerfile or one of its instructions failed.
        """
        path = self._work / "context" / target.file
        if not path.is_file():
            raise Refused(f"failed to read dockerfile: open {target.file}: no such file or directory", code=3)
        defaults, stages = parse(path.read_text(encoding="utf-8"))
        arguments = {**defaults, **{k: v for k, v in target.arguments.items() if k in defaults}}
        names = [stage.name for stage in stages]
        wanted = target.target.lower() or names[-1]
        if wanted not in names:
            raise Refused(f'target stage "{wanted}" could not be found', code=3)
        plan = _Plan(stages={stage.name: stage for stage in stages}, before=arguments, given=target.arguments)
        built = self._stage(wanted, plan, log, timeout)
        return built.image

    def _stage(self, name: str, plan: _Plan, log: Log, timeout: float) -> _Open:
        key = f"{name} {sorted(plan.given.items())}"
        if key in self._done:
            return self._done[key]
        stage = plan.stages[name]
        base = expand(stage.base, plan.before)
        if base.lower() in plan.stages:
            image = self._stage(base.lower(), plan, log, timeout).image
        elif base.rpartition("/")[2].split(":")[0].split("@")[0] in _BASES or base == "scratch":
            image = Image(layers=(), environment={"PATH": _PATH}, command=("/bin/sh",))
        else:
            raise Refused(f"the sandbox has no stand-in for the base image {base}", code=3)
        opened = self._open(image)
        for instruction in stage.instructions:
            log(f"[{name}] {instruction.keyword} {instruction.value}")
            self._run_instruction(opened, instruction, plan, log, timeout)
        opened.change(layers=(*opened.image.layers, self._close(opened)))
        self._done[key] = opened
        return opened

    def _open(self, image: Image) -> _Open:
        """Mount a stage's root: the base's layers under a new one that takes what is written."""
        number = len(self._opened)
        layer, work, root = self._work / f"layer{number}", self._work / f"work{number}", self._mounts / str(number)
        root.mkdir(parents=True)
        opened = _Open(root=root, mounted=[], layer=layer, image=image, arguments={})
        self._opened.append(opened)
        overlays = self._alpine.overlays(self._images.layer_paths(image))
        for part, overlay in zip(PARTS, overlays, strict=True):
            (layer / part).mkdir(parents=True)
            (work / part).mkdir(parents=True)
            target = root / overlay.target.lstrip("/")
            namespaces.overlay(str(target), lower=list(overlay.lower), upper=str(layer / part), work=str(work / part))
            opened.mounted.append(target)
        return opened

    @staticmethod
    def _unmount(opened: _Open) -> None:
        while opened.mounted:
            namespaces.unmount(str(opened.mounted.pop()))

    def _close(self, opened: _Open) -> str:
        """Keep the new layer. The stage stays readable for COPY --from through a fresh mount of what was kept."""
        self._unmount(opened)
        name = self._images.keep_layer(opened.layer)
        kept = dataclasses.replace(opened.image, layers=(*opened.image.layers, name))
        again = self._open(kept)
        opened.root = again.root
        return name

    def _run_instruction(self, opened: _Open, instruction: Instruction, plan: _Plan, log: Log, timeout: float) -> None:
        keyword, values = instruction.keyword, opened.values()
        if keyword == "RUN":
            self._run(opened, instruction, log, timeout)
        elif keyword in ("COPY", "ADD"):
            self._copy(opened, instruction, plan, log, timeout)
        elif keyword == "ARG":
            for name, default in words(instruction).items():
                fallback = expand(default, values) or plan.before.get(name, "")
                opened.arguments[name] = plan.given.get(name, fallback)
        elif keyword in ("ENTRYPOINT", "CMD"):
            self._program(opened, instruction)
        else:
            self._configure(opened, instruction, values)

    @staticmethod
    def _configure(opened: _Open, instruction: Instruction, values: Mapping[str, str]) -> None:
        keyword, value = instruction.keyword, expand(instruction.value, values)
        if keyword in ("ENV", "LABEL"):
            pairs = {name: expand(text, values) for name, text in words(instruction).items()}
            part = {"ENV": "environment", "LABEL": "labels"}[keyword]
            opened.change(**{part: {**getattr(opened.image, part), **pairs}})
        elif keyword == "WORKDIR":
            directory = os.path.join(opened.image.directory, value)
            (opened.root / directory.lstrip("/")).mkdir(parents=True, exist_ok=True)
            opened.change(directory=directory)
        elif keyword == "USER":
            opened.change(user=owner_of(opened.root, value))
        elif keyword == "EXPOSE":
            opened.change(ports=(*opened.image.ports, *value.split()))

    @staticmethod
    def _program(opened: _Open, instruction: Instruction) -> None:
        program = tuple(instruction.json_form() or ("/bin/sh", "-c", instruction.value))
        if instruction.keyword == "ENTRYPOINT":
            # A new entrypoint forgets the base image's command.
            opened.change(entrypoint=program, command=())
        else:
            opened.change(command=program)

    def _run(self, opened: _Open, instruction: Instruction, log: Log, timeout: float) -> None:
        uid, gid = opened.image.user
        container = self._containers.start(
            Spec(
                name="build",
                command=instruction.json_form() or ["/bin/sh", "-c", instruction.value],
                environment={"HOME": "/root", **opened.arguments, **opened.image.environment},
                root=str(opened.root),
                binds=[Bind(source=str(self._app), target="/mnt")] if self._app else [],
                uid=uid,
                gid=gid,
                directory=opened.image.directory,
            ),
            Lines(log),
        )
        code = container.wait(timeout)
        if code is None:
            container.stop(0)
            raise Refused("build timeout", code=4)
        if code:
            raise Refused(f"The command '/bin/sh -c {instruction.value}' returned a non-zero code: {code}", code=9)

    def _copy(self, opened: _Open, instruction: Instruction, plan: _Plan, log: Log, timeout: float) -> None:
        origin, keep_owner = self._work / "context", False
        if "from" in instruction.flags:
            name = instruction.flags["from"].lower()
            if name not in plan.stages:
                raise Refused(f"the sandbox has no stand-in for the image {name} of COPY --from", code=3)
            origin, keep_owner = self._stage(name, plan, log, timeout).root, True
        *sources, target = instruction.json_form() or expand(instruction.value, opened.values()).split()
        owner = instruction.flags.get("chown")
        uid_gid = owner_of(opened.root, owner) if owner else None if keep_owner else (0, 0)
        mode = int(instruction.flags["chmod"], 8) if "chmod" in instruction.flags else None
        directory = target.endswith("/") or len(sources) > 1 or target in (".", "..")
        base = opened.root / os.path.join(opened.image.directory, target).lstrip("/")
        for pattern in sources:
            found = sorted(glob.glob(str(origin / pattern.lstrip("/"))))
            if not found:
                raise Refused(f'failed to compute cache key: "/{pattern.lstrip("/")}": not found', code=5)
            for source in map(Path, found):
                into = base / source.name if (directory or base.is_dir()) and not source.is_dir() else base
                copy(source, into, owner=uid_gid, mode=mode)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Plan:
    stages: Mapping[str, Stage]
    before: Mapping[str, str]
    given: Mapping[str, str]


def run_build(build: Json, archive: bytes, docker: DockerBuild, images: Images, log: Log) -> Json:
    """Do the docker steps of a Cloud Build `Build`; returns its `results`.

    Raises:
        Refused: a step failed, or an image to push was not built.
    """
    built: dict[str, Image] = {}
    with docker:
        docker.unpack(archive)
        for number, step in enumerate(build.get("steps", [])):
            name = step.get("name", "")
            if name.split(":")[0] != _DOCKER or (step.get("args") or [""])[0] != "build":
                raise Refused(f'the sandbox runs "docker build" only, not step {number} "{name}"', code=3)
            try:
                target = docker_arguments(step["args"])
                image = docker.build(target, log, timeout=float(build.get("timeout", "3600s").rstrip("s")))
            except Refused as error:
                log(f"ERROR: {error.message}")
                failed = f'Build step failure: build step {number} "{name}" failed: {error.message}'
                raise Refused(failed, code=error.code) from error
            built |= dict.fromkeys(target.tags, image)
    missing = [name for name in build.get("images", []) if name not in built]
    if missing:
        raise Refused(f"failed to find one or more images after execution of build steps: {missing}", code=5)
    return {"images": [_push(images, name, built[name], log) for name in build.get("images", [])]}


def _push(images: Images, name: str, image: Image, log: Log) -> Json:
    started = datetime.datetime.now(datetime.UTC)
    digest = images.push(name, image)
    log(f"{name}: digest: {digest}")
    ended = datetime.datetime.now(datetime.UTC)
    timing = {"startTime": _time(started), "endTime": _time(ended)}
    return {"name": name, "digest": digest, "pushTiming": timing}


def _time(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
