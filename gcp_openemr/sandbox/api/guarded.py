"""The runtime behind a guard: a defect in it becomes Google's internal error, so that no resource stays half done."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any, cast

from gcp_openemr.sandbox.api.errors import CODES
from gcp_openemr.sandbox.interfaces import Refused, Runtime

__all__ = ["guarded"]


class _Guard:
    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._runtime, name)

        @functools.wraps(method)
        def call(*values: Any) -> Any:
            try:
                return method(*values)
            except Refused:
                raise
            except Exception as error:
                traceback.print_exc()
                raise Refused("Internal error encountered.", code=CODES["INTERNAL"]) from error

        return call


def guarded(runtime: Runtime) -> Runtime:
    """The same runtime, of whose calls only `Refused` comes out."""
    return cast("Runtime", _Guard(runtime))
