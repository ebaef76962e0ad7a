"""Rehearse: the whole life of an environment, from its own file, in a sandbox that is thrown away afterwards."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from gcp_openemr.clients import translate
from gcp_openemr.console import Console, spoken
from gcp_openemr.environment import load_environment
from gcp_openemr.environment.versions import LINES
from gcp_openemr.errors import GcpOpenemrError, Interrupted, RehearsalFailed, UsageError
from gcp_openemr.rehearsal import bad_days, report
from gcp_openemr.rehearsal.acts import ACTS, Act
from gcp_openemr.rehearsal.play import Play
from gcp_openemr.rehearsal.report import Scene
from gcp_openemr.rehearsal.stage import stage

__all__ = ["rehearse", "why"]


def rehearse(
    file: Path,
    console: Console,
    *,
    seed: int | None,
    junit: Path | None,
    to: str | None = None,
    acts: Sequence[Act] = ACTS,
) -> bool:
    """Play every act until one fails, and tell what each proved. Returns whether none failed.

    With a `seed` bad days befall the acts; the same seed draws the same ones. `junit` is a file for CI servers. The
    clinics are upgraded to the OpenEMR `to`, where one is given.

    Raises:
        UsageError: there is no such version, the file names it already, or there is no folder for `junit`.
    """
    _check_junit(junit)
    _check(file, to)
    began = time.monotonic()
    with stage(file, console) as here:
        for change in here.changes:
            console.say(f"  {change}")
        play = Play(here, to=to)
        with console.step("a backup for the clinics to begin with"):
            play.prepare()
        scenes = list(_scenes(play, console, acts, seed))
    environment = here.first.environment.name
    if junit is not None:
        junit.write_bytes(report.as_junit(f"gcp-openemr rehearse {environment}", scenes))
    failed = next((one for one in scenes if one.failed), None)
    values = {
        "environment": environment,
        "ok": failed is None,
        "seed": seed,
        "changes": list(here.changes),
        "acts": report.as_values(scenes),
        "seconds": round(time.monotonic() - began, 1),
    }
    if failed:
        told = {"what": f"Act {failed.name}: {failed.failed}", "do": "", "exit_code": RehearsalFailed.exit_code}
        console.result({**values, "error": told}, f"{report.as_text(scenes)}\nThe rehearsal FAILED.")
        return False
    took = spoken(time.monotonic() - began)
    console.result(values, f"{report.as_text(scenes)}\nNothing was lost, and nothing is left of it. It took {took}.")
    return True


def _check_junit(junit: Path | None) -> None:
    """Before many minutes are spent on what it is to tell."""
    if junit is not None and not (junit.absolute().parent.is_dir() and os.access(junit.absolute().parent, os.W_OK)):
        raise UsageError(
            f"--junit {junit}: there is no such folder, or nothing may be written in it.",
            do="Make the folder first, or name another file.",
        )


def _check(file: Path, to: str | None) -> None:
    if to is None:
        return
    if to not in LINES:
        raise UsageError(f"OpenEMR {to} cannot be built.", do=f"Known versions: {', '.join(LINES)}.")
    if to == load_environment(file).openemr.version:
        raise UsageError(f"The environment file names OpenEMR {to} already.", do="Rehearse with another one, or none.")


def _scenes(play: Play, console: Console, acts: Sequence[Act], seed: int | None) -> Iterator[Scene]:
    """Play one act after the other; after one that failed the others are not played."""
    failed = False
    for act in acts:
        if not act.when(play):
            continue
        scene = Scene(name=act.name) if failed else _scene(play, console, act, seed)
        failed = failed or bool(scene.failed)
        yield scene


def _scene(play: Play, console: Console, act: Act, seed: int | None) -> Scene:
    day = bad_days.draw(seed, act.name, act.steps)
    began = time.monotonic()
    proved = failed = ""
    try:
        if day.told:
            console.say(f"  {act.name}: {day.told}")
        with console.step(act.name) as step:
            play.begin(act.name, day, step)
            proved = act.play(play)
    except (KeyboardInterrupt, Interrupted):
        raise
    except Exception as error:
        failed = why(error)
    console.say(f"    {proved or failed}")
    said = tuple(play.said) if failed else ()
    for line in said:
        console.say(f"    | {line}")
    return Scene(
        name=act.name,
        proved=proved,
        failed=failed,
        day=day.told,
        again=play.again,
        seconds=time.monotonic() - began,
        said=said,
    )


def why(error: Exception) -> str:
    """The sentence of a failure; a defect of ours goes on as what it is."""
    known = error if isinstance(error, GcpOpenemrError) else translate(error)
    if known is None:
        raise error
    return f"{known.what} {known.do}".strip()
