"""The picture that people get of an environment: a table of its clinics, and a line for each thing to know."""

from __future__ import annotations

import datetime
import io
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gcp_openemr.commands.backup import age
from gcp_openemr.doctor import Level

__all__ = ["drawn"]

_WIDTH = 110  # of a file or a pipe


def drawn(values: Mapping[str, Any]) -> str:
    """The text of what `status` found, coloured on a terminal."""
    picture = io.StringIO()
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else _WIDTH
    console = Console(file=picture, force_terminal=terminal, width=width, highlight=False, emoji=False)
    console.print(f"[bold]{values['environment']}[/] in {values['project']}, {values['region']}: {_mark(values)}")
    for line in _about(values):
        console.print(f"  {line}", soft_wrap=True)
    console.print(_clinics(values["clinics"]))
    for line in _problems(values):
        console.print(line, soft_wrap=True)
    return picture.getvalue()


def _mark(seen: Mapping[str, Any]) -> str:
    return "[green]healthy[/]" if seen["healthy"] else "[red]NOT healthy[/]"


def _about(values: Mapping[str, Any]) -> Iterator[str]:
    holder = values["lock"]
    if _is_hidden(holder):
        yield f"who holds it: {_hidden(holder)}"
    elif holder and not holder["dead"]:
        command = escape(holder["command"])
        yield f"[yellow]{escape(holder['who'])} is changing it with `{command}`, begun {_ago(holder['acquired'])}[/]"
    if "versions" not in values:
        return
    yield _versions(values["versions"])
    yield from (f"{part['part']}: {escape(part['what'])}" for part in _platform(values) if part["level"] == Level.OK)
    yield f"Cloud SQL's own backups: {_own(values['cloud_sql'])}"
    yield f"alerts: {_alerts(values['alerts'])}"
    redis = values["redis_root_password"]
    yield f"Redis's root password: {_hidden(redis) if _is_hidden(redis) else _secret(redis)}"


def _versions(versions: Mapping[str, Any]) -> str:
    if _is_hidden(versions):
        return f"versions: {_hidden(versions)}"
    told = [f"gcp-openemr {versions['gcp_openemr']}", f"OpenEMR {versions['openemr']} in the file"]
    return ", ".join(told + [f"{name} {versions[name]}" for name in ("terraform", "provider") if versions[name]])


def _platform(values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What the clinics share, part by part; the whole as one that failed where it cannot be seen."""
    platform: Any = values.get("platform", ())
    if _is_hidden(platform):
        return [{"part": "platform", "level": Level.FAILED, "what": _why(platform), "do": platform.get("do", "")}]
    return [*platform]


def _own(own: Mapping[str, Any] | None) -> str:
    if own is None:
        return "no instance"
    if _is_hidden(own):
        return _hidden(own)
    since = own["point_in_time_since"]
    window = f"any moment since {since:%Y-%m-%d %H:%M} UTC" if since else "no point-in-time recovery"
    newest = own["newest"]
    last = f", the last {newest['status']} of {newest['begun'][:16].replace('T', ' ')}" if newest else ""
    return f"{own['backups']}{last}; {window}"


def _alerts(alerts: Mapping[str, Any]) -> str:
    if _is_hidden(alerts):
        return _hidden(alerts)
    off = f", [yellow]{len(alerts['disabled'])} of them disabled[/]" if alerts["disabled"] else ""
    return f"{len(alerts['open'])} open of {alerts['policies']} that are set up{off}"


def _clinics(clinics: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for heading in ("clinic", "health", "OpenEMR", "traffic", "newest set", "last drill", "passwords"):
        table.add_column(heading, overflow="fold")
    for name, seen in clinics.items():
        if "url" not in seen:
            table.add_row(name, f"[red]{'not visible' if 'not_visible' in seen else escape(seen['problem'])}[/]")
            continue
        table.add_row(
            name,
            _mark(seen) if seen["asked"] else "not asked",
            seen["openemr"],
            "\n".join(f"{percent} % {revision}" for revision, percent in seen["traffic"].items()),
            _backup(seen["backup"]),
            _drill(seen["drill"]),
            "\n".join(f"{kind} {_secret(one)}" for kind, one in seen["secrets"].items()),
        )
    return table


def _secret(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return "[yellow]none[/]"
    if _is_hidden(one):
        return "[red]?[/]"
    return f"{one['version']}, {_ago(one['made'])}"


def _backup(backup: Mapping[str, Any] | None) -> str:
    if backup is None:
        return "[yellow]none[/]"
    if _is_hidden(backup):
        return "[red]?[/]"
    told = f"{backup['set']}\n{_ago(backup['begun'])}, {backup['state']}"
    return told if backup["state"] == "verified" else f"[red]{told}[/]"


def _drill(drill: Mapping[str, Any] | None) -> str:
    if drill is None:
        return "none"
    if _is_hidden(drill):
        return "[red]?[/]"
    if not drill.get("ok"):
        return f"[red]{_ago(drill['at'])}, FAILED[/]"
    return f"{_ago(drill['at'])}, in {drill.get('restore_seconds', 0):.0f} s"


def _problems(values: Mapping[str, Any]) -> Iterator[str]:
    """The addresses, and everything that somebody should look at, with what to do."""
    for name, seen in values["clinics"].items():
        if "url" in seen:
            yield f"{name}: {seen['url']}"
        elif "not_visible" in seen:
            yield f"{name}: [red]{_hidden(seen)}[/]"
        yield from (f"  [red]{escape(text)}[/]" for text in _of_clinic(seen))
    for part in _platform(values):
        if part["level"] not in (Level.OK, Level.SKIPPED):
            colour = "red" if part["level"] == Level.FAILED else "yellow"
            yield f"[{colour}]{part['part']}: {escape(part['what'])}[/]" + _do(part["do"])
    alerts = values.get("alerts", {})
    for alert in alerts.get("open", ()):
        since = f", since {_ago(alert['since'])}" if alert["since"] else ""
        yield f"[red]alert: {escape(alert['title'])}[/]{since}" + _do(alert["do"])
    left = values["unfinished"]
    if _is_hidden(left):
        yield f"what interrupted commands left: {_hidden(left)}"
        return
    for one in left:
        yield f"[yellow]unfinished: {escape(one['what'])}[/]" + _do(one["command"])


def _of_clinic(seen: Mapping[str, Any]) -> Iterator[str]:
    if "url" not in seen:
        return
    if seen["problem"]:
        yield seen["problem"]
    if seen["asked"] and not seen["health"]:
        yield "it does not answer; see: gcp-openemr logs"
    for part, answer in seen["health"].get("checks", {}).items():
        if answer != "ok":
            yield f"{part}: {answer}"
    hidden = {kind: one for kind, one in seen["secrets"].items() if _is_hidden(one)}
    parts = {**hidden, "passwords": seen["rotation"], "newest set": seen["backup"], "last drill": seen["drill"]}
    yield from (f"{name}: {_why(part)}" for name, part in parts.items() if _is_hidden(part))
    if not _is_hidden(seen["rotation"]):
        yield from (f"passwords: {told}; see: gcp-openemr rotate --status" for told in seen["rotation"])
    drill = seen["drill"]
    if drill and not _is_hidden(drill) and not drill.get("ok"):
        yield f"the last drill failed: {drill.get('error', 'no reason was written down')}"


def _do(text: str) -> str:
    return f"\n  → {escape(text)}" if text else ""


def _is_hidden(part: Any) -> bool:
    """Whether it is why a part could not be had, instead of the part; of a clinic `url` tells that it was."""
    return isinstance(part, Mapping) and not part.keys().isdisjoint(("not_visible", "problem")) and "url" not in part


def _why(part: Mapping[str, Any]) -> str:
    return f"not visible: {part['not_visible']}" if "not_visible" in part else str(part["problem"])


def _hidden(part: Mapping[str, Any]) -> str:
    return escape(_why(part))


def _ago(moment: datetime.datetime) -> str:
    return f"{age((datetime.datetime.now(datetime.UTC) - moment).total_seconds())} ago"
