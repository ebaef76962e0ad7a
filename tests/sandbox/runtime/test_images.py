"""Dockerfiles: read, run for real, kept by content."""

from __future__ import annotations

import pytest

from gcp_openemr.sandbox.interfaces import Json, Refused
from gcp_openemr.sandbox.runtime.build import docker_arguments
from gcp_openemr.sandbox.runtime.dockerfile import expand, parse
from tests.sandbox.runtime import inside
from tests.sandbox.runtime.conftest import LOCATION, REPOSITORY, World, archive, build_request

TWO_TARGETS = """\
# syntax=docker/dockerfile:1
ARG BASE=alpine:3.20
FROM ${BASE} AS base
ARG GREETING=hello
RUN addgroup -g 1234 staff && adduser -D -H -u 1001 -G staff worker \\
 # a comment in the middle
 && mkdir -p /srv/made && echo "$GREETING" > /srv/made/greeting \\
 && chown -R worker:staff /srv/made && rm -rf /etc/php

FROM base AS service
LABEL about="two words" \\
      more=x
COPY --chown=worker --chmod=750 files/ /srv/copied/
COPY --from=base /srv/made /srv/again
ENV A=1 B="two words"
ENV C=${A}/${B} LEGACY=${NONE:-fallback}
WORKDIR /srv
WORKDIR copied
USER worker
CMD ["/bin/sh", "-c", "cat /srv/made/greeting; id -u; id -g; pwd; echo $C $LEGACY; ls -ln /srv/copied /srv | \
awk '{print $1, $3, $4, $9}'; ls /etc/php 2>/dev/null || echo no php; \
cat /usr/share/extra 2>/dev/null || echo no extra"]

FROM service AS job
USER 0:0
RUN echo extra > /usr/share/extra && rm /srv/copied/one.txt
WORKDIR /srv
USER 1000:1000
"""
FILES = {"Dockerfile": TWO_TARGETS, "files/one.txt": "1", "files/deep/two.txt": "2"}


def output(world: World, image: str, name: str) -> list[str]:
    template = {"containers": [{"image": image}], "maxRetries": 0}
    execution = {"name": f"{LOCATION}/jobs/look/executions/{name}", "template": template}
    final, _ = world.run(inside.execute, execution)
    assert final["succeededCount"] == 1, world.log(name)
    return [line.split(" ", 2)[2] for line in world.log(name)]


def build(world: World, files: dict[str, str], request: Json) -> Json:
    world.run(inside.put_object, "build", "source.tar.gz", archive(files))
    found: Json = world.run(inside.build, request)[0]
    return found


def test_both_targets_run_as_their_instructions_say(world: World) -> None:
    service = world.build(FILES, target="service", name="service")["images"][0]["digest"]
    job = world.build(FILES, target="job", name="job")["images"][0]["digest"]
    lines = output(world, f"{REPOSITORY}/service@{service}", "service")
    assert lines[:5] == ["hello", "1001", "1234", "/srv/copied", "1/two words fallback"]
    assert "-rwxr-x--- 1001 1234 one.txt" in lines
    assert "drwxr-xr-x 1001 1234 again" in lines
    assert lines[-2:] == ["no php", "no extra"]
    lines = output(world, f"{REPOSITORY}/job@{job}", "job")
    assert lines[:2] == ["hello", "1000"]
    assert lines[-1] == "extra"
    assert not any("one.txt" in line for line in lines)


def test_the_same_source_gives_the_same_digest_and_another_one_another(world: World) -> None:
    first = world.build(FILES, target="service")
    again = world.build(FILES, target="service", tag="2")
    other = world.build({**FILES, "files/one.txt": "changed"}, target="service", tag="3")
    argument = build(
        world, FILES, build_request(target="service", name="app", tag="4", arguments=("--build-arg", "GREETING=hi"))
    )
    digests = [result["images"][0]["digest"] for result in (first, again, other, argument)]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_command_that_fails_fails_the_step_in_docker_words(world: World) -> None:
    with pytest.raises(Refused, match=r'build step 0 "gcr\.io/cloud-builders/docker" failed: .* non-zero code: 3'):
        world.build({"Dockerfile": "FROM alpine:3.20\nRUN exit 3\n"})
    assert not list((world.directory / "images/partial").iterdir())


def test_stages_that_were_only_copied_from_leave_nothing(world: World) -> None:
    before = {path.name for path in (world.directory / "images/layers").iterdir()}
    dockerfile = "FROM alpine:3.20 AS a\nRUN date > /dated && touch /b\nFROM alpine:3.20\nCOPY --from=a /b /b\n"
    world.build({"Dockerfile": dockerfile}, name="copied")
    assert len({path.name for path in (world.directory / "images/layers").iterdir()} - before) == 1


def test_a_build_has_no_network(world: World) -> None:
    with pytest.raises(Refused, match="non-zero code"):
        world.build({"Dockerfile": "FROM alpine:3.20\nRUN nc -z -w 1 169.254.169.254 80\n"})


@pytest.mark.parametrize(
    ("dockerfile", "target", "message"),
    [
        ("", "", "file with no instructions"),
        ("RUN true\n", "", "no build stage in current context"),
        ("FROM alpine:3.20\nBREW tea\n", "", "line 2: unknown instruction: BREW"),
        ("FROM alpine:3.20\n", "other", 'target stage "other" could not be found'),
        ("FROM debian:12\n", "", "no stand-in for the base image debian:12"),
        ("FROM alpine:3.20\nCOPY none /x\n", "", '"/none": not found'),
        ("FROM alpine:3.20\nUSER nobody-here\n", "", "unable to find user nobody-here"),
        ("FROM alpine:3.20\nRUN <<EOF\nEOF\n", "", "here-documents"),
    ],
)
def test_what_docker_refuses_is_refused(world: World, dockerfile: str, target: str, message: str) -> None:
    with pytest.raises(Refused, match=message):
        world.build({"Dockerfile": dockerfile, "x": ""}, target=target)


def test_images_to_push_must_have_been_built(world: World) -> None:
    request = build_request(target="", name="app", tag="1")
    request["images"] = [f"{REPOSITORY}/other:1"]
    with pytest.raises(Refused, match="failed to find one or more images"):
        build(world, {"Dockerfile": "FROM alpine:3.20\n"}, request)


def test_only_docker_builds_are_run(world: World) -> None:
    request = build_request(target="", name="app", tag="1")
    request["steps"] = [{"name": "ubuntu", "args": ["bash"]}]
    with pytest.raises(Refused, match='"docker build" only'):
        build(world, {"Dockerfile": "FROM alpine:3.20\n"}, request)


def test_docker_options_are_read_in_all_their_forms() -> None:
    words = ["build", "-t", "a:1", "--tag=b:2", "--target", "job", "-f", "x/Dockerfile", "--build-arg", "K=a=b", "."]
    found = docker_arguments([*words, "--platform=linux/amd64", "--no-cache"])
    assert (found.tags, found.target, found.file, found.arguments) == (
        ["a:1", "b:2"],
        "job",
        "x/Dockerfile",
        {"K": "a=b"},
    )
    with pytest.raises(Refused, match="unknown flag: --squash"):
        docker_arguments(["build", "--squash", "."])


@pytest.mark.parametrize(
    ("text", "result"),
    [("$A-${A}", "1-1"), ("${B:-x}${A:-x}", "x1"), ("${A:+yes}${B:+no}", "yes"), (r"\$A", "$A"), ("$B|", "|")],
)
def test_variables_are_replaced_as_docker_does(text: str, result: str) -> None:
    assert expand(text, {"A": "1"}) == result


def test_stages_keep_their_lines() -> None:
    arguments, stages = parse(TWO_TARGETS)
    assert arguments == {"BASE": "alpine:3.20"}
    assert [(stage.name, stage.base) for stage in stages] == [
        ("base", "${BASE}"),
        ("service", "base"),
        ("job", "service"),
    ]
    assert [one.line for one in stages[2].instructions] == [23, 24, 25, 26]
