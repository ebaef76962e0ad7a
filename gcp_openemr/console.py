"""What people see: steps with their durations on stderr, results on stdout.

On a terminal the steps under way stay at the bottom with a running clock; without one each start and end is a line
that begins with the time (UTC).
"""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from gcp_openemr.errors import UsageError
from gcp_openemr.pipeline import Pipeline
from gcp_openemr.timeline import Piece

if TYPE_CHECKING:
    from rich.live import Live

__all__ = ["Console", "Step"]

_REMIND_SECONDS = 15.0
_HEAD_START_SECONDS = 1.0


class Step:
    """A step under way. `update` tells what it is doing now."""

    def __init__(self, title: str, changed: threading.Event) -> None:
        self.title = title
        self.detail = ""
        self.started = time.monotonic()
        self.parts: list[Piece] = []
        self._changed = changed

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def update(self, detail: str) -> None:
        self.detail = detail
        self._changed.set()

    def part(self, title: str, start: float) -> None:
        """Note a piece of its work that has just ended; `start` by the monotonic clock."""
        self.parts.append(Piece(title=title, start=start, end=time.monotonic()))


class Console:
    """Safe to use from several threads: steps may run side by side."""

    def __init__(
        self,
        *,
        as_json: bool = False,
        people: TextIO | None = None,
        results: TextIO | None = None,
        pipeline: Pipeline | None = None,
        title: str = "gcp-openemr",
    ) -> None:
        """`title` stands over what a pipeline's summary says of this command."""
        self._pipeline = pipeline or Pipeline()
        self._title = title
        self._people = people or sys.stderr
        self._results = results or sys.stdout
        self._as_json = as_json
        self._terminal = self._people.isatty() and not self._pipeline.kind
        self._mutex = threading.Lock()
        self._active: list[Step] = []
        self._changed = threading.Event()
        self._live: Live | None = None
        self.timings: list[Piece] = []

    @property
    def asks(self) -> bool:
        """Whether someone can be asked."""
        return self._terminal and sys.stdin.isatty()

    @property
    def as_json(self) -> bool:
        return self._as_json

    def seconds(self) -> dict[str, float]:
        """Finished steps and their seconds, those of the same title added up, in the order they were first done."""
        found: dict[str, float] = {}
        for timing in self.timings:
            found[timing.title] = round(found.get(timing.title, 0.0) + timing.seconds, 2)
        return found

    @contextlib.contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show a step from its start to its end, with what it is doing and how long it took."""
        step = Step(title, self._changed)
        self._open(step)
        mark = "✗"
        try:
            yield step
            mark = "✓"
        finally:
            self._close(step, mark)

    def say(self, text: str = "") -> None:
        """A line for people."""
        with self._mutex:
            self._write(self._pipeline.harmless(text))

    def block(self, title: str, lines: Sequence[str]) -> None:
        """Lines for people that belong together; a pipeline's log folds them away."""
        with self._mutex:
            self._write("\n".join(self._pipeline.group(title, lines)))

    def warn(self, text: str) -> None:
        self.say(f"! {text}")

    def confirm(self, question: str) -> bool:
        """Ask; anything but y or yes is no."""
        return self.answer(f"{question} [y/N]").lower() in ("y", "yes")

    def answer(self, question: str) -> str:
        """Ask, and return the line that comes."""
        self._people.write(f"{question} ")
        self._people.flush()
        return sys.stdin.readline().strip()

    def line(self, text: str) -> None:
        """One line of a result that has no end, on stdout."""
        self._print(text)

    def result(self, values: Mapping[str, Any], text: str, *, secrets: Sequence[str] = ()) -> None:
        """A command's result on stdout: the one JSON object with --json, the text otherwise.

        A pipeline's summary gets the text, but nothing that holds `secrets`.

        Raises:
            UsageError: it holds secrets, and the log of this pipeline would keep them.
        """
        if secrets and not self._pipeline.masks:
            raise UsageError("The log of this pipeline would keep the secret.", do="Run it on a machine of your own.")
        masks = [line for secret in secrets for line in self._pipeline.mask(secret)]
        if masks:
            self._mask(masks)
        if not secrets:
            self._pipeline.summarise(self._title, text)
        self._print(json.dumps(values, indent=2, default=str) if self._as_json else text.rstrip("\n"))

    def _mask(self, masks: Sequence[str]) -> None:
        """Before the secret, in the stream where it comes: between two streams a runner keeps no order.

        With --json stdout is one object, so that the other stream gets a head start.
        """
        stream = self._people if self._as_json else self._results
        stream.write("".join(f"{line}\n" for line in masks))
        stream.flush()
        if self._as_json:
            time.sleep(_HEAD_START_SECONDS)

    def _print(self, text: str) -> None:
        """On stdout, which a pipeline's log shows too."""
        harmless = self._pipeline.harmless_json if self._as_json else self._pipeline.harmless
        self._results.write(harmless(text) + "\n")
        self._results.flush()

    def _open(self, step: Step) -> None:
        with self._mutex:
            self._active.append(step)
            if not self._terminal:
                self._write(f"{self._clock()}→ {step.title}")
                threading.Thread(target=self._remind, args=(step,), daemon=True).start()
            elif self._live is None:
                self._live = self._start_live()

    def _close(self, step: Step, mark: str) -> None:
        with self._mutex:
            self._active.remove(step)
            done = Piece(title=step.title, start=step.started, end=time.monotonic(), parts=tuple(step.parts))
            self.timings.append(done)
            if self._live is not None and not self._active:
                self._live.stop()
                self._live = None
            self._write(f"{self._clock()}{mark} {step.title}  {spoken(step.seconds)}")

    def _clock(self) -> str:
        """Without a terminal: when a line was written. Logs are read afterwards."""
        return "" if self._terminal else f"{datetime.datetime.now(datetime.UTC):%H:%M:%S} "

    def _write(self, text: str) -> None:
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
            return
        self._people.write(text + "\n")
        self._people.flush()

    def _remind(self, step: Step) -> None:
        """Without a terminal: every 15 s a line saying that a step is still under way, and at what."""
        while step in self._active:
            time.sleep(min(_REMIND_SECONDS, 0.2 if step.seconds < 0.2 else _REMIND_SECONDS))
            with self._mutex:
                if step in self._active and step.seconds >= _REMIND_SECONDS:
                    detail = self._pipeline.harmless(step.detail)
                    self._write(f"{self._clock()}… {step.title}, {spoken(step.seconds)} {detail}".rstrip())

    def _start_live(self) -> Live:
        from rich.console import Console as Terminal
        from rich.live import Live

        live = Live(
            console=Terminal(file=self._people), get_renderable=self._picture, refresh_per_second=8, transient=True
        )
        live.start()
        return live

    def _picture(self) -> str:
        return "\n".join(
            f"[cyan]→[/] {_plain(s.title)}  {spoken(s.seconds)}  [dim]{_plain(s.detail)}[/]" for s in self._active
        )


def spoken(seconds: float) -> str:
    """Seconds as people say them: 0.4 s, 12 s, 3 min 05 s."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def _plain(text: str) -> str:
    return text.replace("[", "\\[")
