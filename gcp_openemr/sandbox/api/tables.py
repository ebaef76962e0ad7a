"""Brings every API's rows and handlers into the tables."""

from __future__ import annotations

import importlib

__all__ = ["load_tables"]

_MODULES = ("secretmanager", "storage.buckets", "storage.object_calls", "storage.uploads")


def load_tables() -> None:
    """Import the modules that add to COLLECTIONS, HANDLERS and WORK; once is enough."""
    for module in _MODULES:
        importlib.import_module(f"gcp_openemr.sandbox.api.{module}")
