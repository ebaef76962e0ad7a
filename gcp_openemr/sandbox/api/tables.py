"""Brings every API's rows and handlers into the tables."""

from __future__ import annotations

import importlib

__all__ = ["load_tables"]

_MODULES = (
    "artifactregistry",
    "cloudbuild",
    "cloudscheduler",
    "compute.endpoints",
    "compute.group_calls",
    "compute.machines",
    "compute.network",
    "compute.templates",
    "customroles",
    "dns",
    "identitypools",
    "iap",
    "logging",
    "monitoring",
    "operation_calls",
    "resourcemanager",
    "run.jobs",
    "run.services",
    "secretmanager",
    "serviceaccounts",
    "serviceusage",
    "sqladmin.backups",
    "sqladmin.instances",
    "sqladmin.users",
    "storage.buckets",
    "storage.folders",
    "storage.object_calls",
    "storage.uploads",
    "surroundings",
)


def load_tables() -> None:
    """Import the modules that add to COLLECTIONS, HANDLERS and WORK; once is enough."""
    for module in _MODULES:
        importlib.import_module(f"gcp_openemr.sandbox.api.{module}")
