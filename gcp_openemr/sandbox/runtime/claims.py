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
    Claim(_IMAGE, "OpenEMR's upgrade scripts: names, command line, habits", Level.UNPROVEN, "of a second small line"),
    Claim(_IMAGE, "what git, composer and npm fetch at build time", Level.UNPROVEN, "nothing leads out"),
    Claim(_RUN, "variables, secrets, working directory, arguments, uid 1000", Level.REAL),
    Claim(_RUN, "SIGTERM, ten seconds, SIGKILL", Level.RULE, "https://cloud.google.com/run/docs/container-contract"),
    Claim(_RUN, "startup and liveness probes over HTTP and TCP", Level.RULE, "https://cloud.google.com/run/docs/configuring/healthchecks"),
    Claim(_RUN, "metadata server and access tokens of the service account", Level.RULE, "https://cloud.google.com/run/docs/container-contract#metadata-server"),
    Claim(_RUN, "a job's timeout, exit code and executions", Level.RULE, "https://cloud.google.com/run/docs/create-jobs"),
    Claim(_RUN, "memory limit, with files in memory, and CPU limit: by control groups", Level.RULE, "https://cloud.google.com/run/docs/configuring/memory-limits"),
    Claim(_RUN, "instances: concurrency, a new one when all are full, up to the maximum", Level.RULE, "https://cloud.google.com/run/docs/about-instance-autoscaling"),
    Claim(_RUN, "scaling to zero and cold starts, with the setting idle", Level.RULE, "https://cloud.google.com/run/docs/about-instance-autoscaling"),
    Claim(_RUN, "session affinity", Level.RULE, "https://cloud.google.com/run/docs/configuring/session-affinity"),
    Claim(_RUN, "request timeout, 32 MiB limit, queue", Level.RULE, "https://cloud.google.com/run/quotas"),
    Claim(_RUN, "volumes: NFS, secrets, directories in memory", Level.RULE, "https://cloud.google.com/run/docs/configuring/services/in-memory-volume-mounts"),
    Claim(_RUN, "buckets as volumes, gRPC probes, sidecars", Level.UNPROVEN, "refused"),
    Claim(_RUN, "scaling by CPU, CPU between requests, start-up boost", Level.UNPROVEN, "concurrency alone counts"),
    Claim(_SQL, "MySQL: SQL, privileges, dual passwords, dumps and imports", Level.REAL),
    Claim(_SQL, "TLS with a certificate for the instance's name", Level.RULE, "https://cloud.google.com/sql/docs/mysql/authorize-ssl"),
    Claim(_SQL, "MySQL 8.0 where it differs from the server here", Level.UNPROVEN, "9.x, or MariaDB with a notice"),
    Claim(_SQL, "what Cloud SQL forbids its administrator", Level.UNPROVEN, "only MySQL's own rules are here"),
    Claim(_SQL, "backups and clones: the disk as of one moment", Level.REAL),
    Claim(_SQL, "recovery to a point in time: MySQL plays the binary log", Level.REAL),
    Claim(_SQL, "recovery where the log is younger than the data", Level.UNPROVEN, "refused"),
    Claim(_SQL, "exports: mysqldump of the databases that are named", Level.REAL),
    Claim(_SQL, "failover, maintenance, sizes and speed of machines", Level.UNPROVEN, "one process of this machine"),
    Claim(_FILES, "Redis with its access list", Level.REAL),
    Claim(_FILES, "file modes, owners and links on the share", Level.REAL),
    Claim(_FILES, "the machine's start-up script: mkfs, fsck, mounts, exports, Redis's configuration", Level.REAL),
    Claim(_FILES, "a disk that is full, outlives its machine, is copied", Level.REAL),
    Claim(_FILES, "apt, systemd, the kernel's NFS server", Level.UNPROVEN, "stood in for; the machine's log shows it"),
    Claim(_FILES, "who may mount: the script's exports, and the firewall", Level.RULE, "https://manpages.debian.org/bookworm/nfs-kernel-server/exports.5.en.html"),
    Claim(_FILES, "NFS: all_squash, caches, versions", Level.UNPROVEN, "a directory mounted into containers"),
    Claim(_FILES, "NFS: nolock", Level.UNPROVEN, "locks on the share hold between instances, on Cloud Run they do not"),
    Claim(_FILES, "open files of a share that is gone", Level.UNPROVEN, "they go on; who opens one waits, then fails"),
    Claim(_NETWORK, "addresses, ports and names of the VPC; nothing leads out of it", Level.REAL),
    Claim(_NETWORK, "Google's host names with TLS", Level.REAL),
    Claim(_NETWORK, "firewall rules for what comes in to a machine", Level.RULE, "https://cloud.google.com/firewall/docs/firewalls"),
    Claim(_NETWORK, "firewall rules for what goes out; policies; IPv6", Level.UNPROVEN, "stored, not enforced"),
    Claim(_NETWORK, "firewall rules for ports from 32768 up", Level.UNPROVEN, "routing knows no connections"),
    Claim(_NETWORK, "egress of all traffic or private ranges only, Private Google Access", Level.RULE, "https://cloud.google.com/run/docs/configuring/vpc-direct-vpc"),
    Claim(_NETWORK, "Cloud NAT, mail and other ways out", Level.UNPROVEN, "nothing leads out"),
)  # fmt: skip
