"""What the file and the variables say, each value with the place it comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from gcp_openemr.environment.positions import KeyPath
from gcp_openemr.environment.problems import Origin, Problem

__all__ = ["Settings"]


@dataclasses.dataclass(kw_only=True)
class Settings:
    """A parsed document under correction: `values` as TOML gives them, `origins` by path, `problems` found so far."""

    values: dict[str, Any]
    origins: dict[KeyPath, Origin]
    problems: set[Problem] = dataclasses.field(default_factory=set)

    def table(self, *path: str) -> dict[str, Any]:
        """The table at `path`; empty where there is none."""
        table: Any = self.values
        for key in path:
            table = table.get(key) if isinstance(table, dict) else None
        return table if isinstance(table, dict) else {}

    def put(self, path: Sequence[str], value: object, origin: Origin) -> None:
        """Set the value at `path`, making tables on the way; what is no table on the way stays as it is."""
        table = self.values
        for key in path[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                return
        table[path[-1]] = value
        below = [known for known in self.origins if known[: len(path)] == tuple(path)]
        for known in below:
            del self.origins[known]
        self.origins[tuple(path)] = origin

    def rename(self, table: Sequence[str], old: str, new: str) -> None:
        """Move the value of key `old` of a table to key `new`, and its place with it."""
        values = self.table(*table)
        if old in values:
            values[new] = values.pop(old)
            self.origins[(*table, new)] = self.origins.pop((*table, old))

    def is_table(self, path: KeyPath) -> bool:
        """Whether a table was written at `path`."""
        value: Any = self.values
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return isinstance(value, dict)

    def holds(self, path: KeyPath) -> bool:
        """Whether something was written at `path`, in the file or by a variable."""
        value: Any = self.values
        for key in path:
            if not isinstance(value, dict) or key not in value:
                return False
            value = value[key]
        return True

    def first_held(self, paths: Sequence[KeyPath]) -> KeyPath:
        """The first of `paths` that was written, or the very first."""
        return next(filter(self.holds, paths), paths[0])

    def complain(self, text: str, path: KeyPath, *, of_table: bool = False) -> None:
        """Note a problem at `path`, or at the nearest table around it that was written."""
        self.problems.add(Problem(origin=self._origin_near(path), path=path, text=text, of_table=of_table))

    def complain_of_variable(self, name: str, text: str, path: KeyPath = ()) -> None:
        """Note a problem of an environment variable."""
        self.problems.add(Problem(origin=name, path=path, text=text))

    def _origin_near(self, path: KeyPath) -> Origin:
        while path and path not in self.origins:
            path = path[:-1]
        return self.origins.get(path, 1)
