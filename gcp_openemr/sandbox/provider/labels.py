"""Labels and annotations as hashicorp/google keeps them since 5.0, in three attributes.

`labels` is what the configuration says, `terraform_labels` adds the provider's default and attribution labels, and
`effective_labels` is all that Google has. Annotations have `annotations` and `effective_annotations`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from gcp_openemr.sandbox.provider.protocol import UNKNOWN, has_unknown
from gcp_openemr.sandbox.provider.schema import Block
from gcp_openemr.sandbox.provider.types.model import Settings

__all__ = ["ATTRIBUTION", "EFFECTIVE", "from_body", "into_body", "plan"]

ATTRIBUTION: Final = {"goog-terraform-provisioned": "true"}
EFFECTIVE: Final = {"effective_labels": "labels", "effective_annotations": "annotations"}


def plan(block: Block, state: dict[str, Any], prior: Mapping[str, Any] | None, settings: Settings) -> None:
    """Fill the derived attributes of a planned state."""
    if "terraform_labels" in block.attributes:
        said = state.get("labels") or {}
        if has_unknown(said):
            state["terraform_labels"] = state["effective_labels"] = UNKNOWN
        else:
            ours = {**settings.default_labels, **_attribution(prior, settings), **said}
            state["terraform_labels"] = _kept(prior, "terraform_labels", ours)
            state["effective_labels"] = _kept(prior, "effective_labels", _effective(prior, "terraform_labels", ours))
    if "effective_annotations" in block.attributes:
        said = state.get("annotations") or {}
        if has_unknown(said):
            state["effective_annotations"] = UNKNOWN
        else:
            state["effective_annotations"] = _kept(
                prior, "effective_annotations", _effective(prior, "annotations", said)
            )


def into_body(block: Block, state: Mapping[str, Any], body: dict[str, Any]) -> None:
    """Send what is effective."""
    for effective, name in EFFECTIVE.items():
        if effective in block.attributes:
            body.pop(name, None)
            if state.get(effective):
                body[name] = dict(state[effective])


def from_body(block: Block, state: dict[str, Any], body: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    """Read what is effective, and of it what the configuration speaks of."""
    for effective, name in EFFECTIVE.items():
        if effective not in block.attributes:
            continue
        found = dict(body.get(name) or {})
        state[effective] = found
        for spoken in (name, "terraform_labels") if name == "labels" else (name,):
            earlier = before.get(spoken)
            known = earlier if isinstance(earlier, dict) else {}
            left = {key: value for key, value in found.items() if key in known}
            state[spoken] = left if left or earlier == {} or spoken == "terraform_labels" else None


def _attribution(prior: Mapping[str, Any] | None, settings: Settings) -> Mapping[str, str]:
    """The label that marks a resource as Terraform's: set on create, kept if there, everywhere if asked."""
    if not settings.attribution_label:
        return {}
    marked = prior is None or ATTRIBUTION.keys() <= (prior.get("terraform_labels") or {}).keys()
    return ATTRIBUTION if marked or settings.attribution_strategy == "PROACTIVE" else {}


def _effective(prior: Mapping[str, Any] | None, spoken: str, ours: Mapping[str, str]) -> dict[str, str]:
    """Others' labels stay; ours are as said, and those we no longer speak of go."""
    if prior is None:
        return dict(ours)
    effective = "effective_annotations" if spoken == "annotations" else "effective_labels"
    dropped = (prior.get(spoken) or {}).keys()
    others = {key: value for key, value in (prior.get(effective) or {}).items() if key not in dropped}
    return {**others, **ours}


def _kept(prior: Mapping[str, Any] | None, name: str, value: dict[str, str]) -> dict[str, str] | None:
    """The state's own null when there is nothing to say, so that nothing seems to change."""
    return None if not value and prior is not None and prior.get(name) is None else value
