"""What the runtime itself has to remember across restarts: ports, endpoints, who gets the traffic."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["Record"]


class Record:
    """A small JSON file, written whole on every change. Sections are dictionaries by name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        self._content: dict[str, dict[str, Any]] = {}
        if path.is_file():
            self._content = json.loads(path.read_text(encoding="utf-8"))

    def section(self, name: str) -> dict[str, Any]:
        """A copy of a section, empty when there is none."""
        with self._lock:
            return copy.deepcopy(self._content.get(name, {}))

    def change(self, section: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Change a section and write the file."""
        with self._lock:
            change(self._content.setdefault(section, {}))
            partial = self._path.with_suffix(".partial")
            partial.write_text(json.dumps(self._content, indent=1, sort_keys=True), encoding="utf-8")
            partial.replace(self._path)

    def put(self, section: str, name: str, value: Any) -> None:
        """Set one entry."""
        self.change(section, lambda content: content.__setitem__(name, value))

    def remove(self, section: str, name: str) -> None:
        """Take an entry out, when it is there."""
        self.change(section, lambda content: content.pop(name, None))
