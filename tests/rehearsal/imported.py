"""Imports what the program's commands import, for `warm`."""

from __future__ import annotations

import gc
import importlib
import pkgutil

from gcp_openemr import commands

for module in pkgutil.iter_modules(commands.__path__, f"{commands.__name__}."):
    importlib.import_module(module.name)
for client in ("run_v2", "secretmanager_v1", "storage"):
    importlib.import_module(f"google.cloud.{client}")
importlib.import_module("googleapiclient.discovery")
gc.freeze()  # it stays shared with the forks
