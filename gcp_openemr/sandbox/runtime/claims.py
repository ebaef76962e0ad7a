"""What can be said of the things that run in the sandbox: real, by a rule, or unproven here. One row for each claim."""

from __future__ import annotations

import dataclasses
import enum

__all__ = ["CLAIMS", "Claim", "Level"]


class Level(enum.StrEnum):
    """How much a green rehearsal says about a thing on Google Cloud."""

    REAL = "real"
    SCHEMA = "checked by Google's schema"
    RULE = "rule with its source"
    UNPROVEN = "unproven here"


@dataclasses.dataclass(frozen=True)
class Claim:
    """`what` about `area` is on `level`; `source` is where the rule is written, or why there is none."""

    area: str
    what: str
    level: Level
    source: str = ""


_RUN = "Cloud Run"
_SQL = "Cloud SQL"
_FILES = "files and Redis"
_NETWORK = "network"
_IMAGE = "image"

CLAIMS = (
    Claim(_IMAGE, "the Dockerfile's stages, COPY and RUN lines", Level.REAL),
    Claim(_IMAGE, "Apache, PHP-FPM, PHP and their configuration as the image has them", Level.REAL),
    Claim(_IMAGE, "the entrypoint, the health pages, the jobs' code", Level.REAL),
    Claim(_IMAGE, "Alpine's own programs and libraries: Debian's under busybox", Level.UNPROVEN, "apk is stood in for"),
    Claim(_IMAGE, "OpenEMR, unless --openemr-tree names one", Level.UNPROVEN, "a small application of its shape"),
    Claim(_IMAGE, "what git, composer and npm fetch at build time", Level.UNPROVEN, "nothing leads out"),
    Claim(_RUN, "variables, secrets, working directory, arguments, uid 1000", Level.REAL),
    Claim(_RUN, "SIGTERM, ten seconds, SIGKILL", Level.RULE, "https://cloud.google.com/run/docs/container-contract"),
    Claim(_RUN, "startup and liveness probes over HTTP and TCP", Level.RULE, "https://cloud.google.com/run/docs/configuring/healthchecks"),
    Claim(_RUN, "metadata server and access tokens of the service account", Level.RULE, "https://cloud.google.com/run/docs/container-contract#metadata-server"),
    Claim(_RUN, "a job's timeout, exit code and executions", Level.RULE, "https://cloud.google.com/run/docs/create-jobs"),
    Claim(_RUN, "ending what uses more memory than its limit", Level.UNPROVEN, "the limit is shown, not enforced"),
    Claim(_RUN, "scaling with load, cold starts, concurrency", Level.UNPROVEN, "min_instances run, one at least"),
    Claim(_RUN, "volumes but NFS, gRPC probes, sidecars", Level.UNPROVEN, "refused or read as something simpler"),
    Claim(_SQL, "MySQL: SQL, privileges, dual passwords, dumps and imports", Level.REAL),
    Claim(_SQL, "TLS with a certificate for the instance's name", Level.RULE, "https://cloud.google.com/sql/docs/mysql/authorize-ssl"),
    Claim(_SQL, "MySQL 8.0 where it differs from the server here", Level.UNPROVEN, "9.x, or MariaDB with a notice"),
    Claim(_SQL, "what Cloud SQL forbids its administrator", Level.UNPROVEN, "only MySQL's own rules are here"),
    Claim(_SQL, "failover, maintenance, sizes and speed of machines", Level.UNPROVEN, "one process of this machine"),
    Claim(_FILES, "Redis with its access list", Level.REAL),
    Claim(_FILES, "file modes, owners and links on the share", Level.REAL),
    Claim(_FILES, "NFS: locks, delays, a server that goes away", Level.UNPROVEN, "a directory mounted into containers"),
    Claim(_FILES, "the machine's start-up script", Level.UNPROVEN, "a test of its own runs it, the sandbox does not"),
    Claim(_NETWORK, "addresses, ports and names of the VPC; nothing leads out of it", Level.REAL),
    Claim(_NETWORK, "Google's host names with TLS", Level.REAL),
    Claim(_NETWORK, "firewall rules", Level.UNPROVEN, "stored, not enforced"),
    Claim(_NETWORK, "Cloud NAT, mail and other ways out", Level.UNPROVEN, "nothing leads out"),
)  # fmt: skip
