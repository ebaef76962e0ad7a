"""Render: the Terraform working directories, without asking the cloud anything."""

from __future__ import annotations

from pathlib import Path

from gcp_openemr.commands import roots
from gcp_openemr.console import Console
from gcp_openemr.environment import Environment
from gcp_openemr.render import render
from gcp_openemr.variables import Foundation, foundation_variables, platform_variables

__all__ = ["render_all"]


def render_all(environment: Environment, output: Path, console: Console) -> None:
    """Write foundation/, platform/ and clinics/NAME/ below `output`.

    Values that only an applied platform has (addresses, image digests, secret versions) are left out of the clinics'
    variables; their working directories ask for them.
    """
    names = environment.names
    foundation = Foundation(
        registry=f"{environment.region}-docker.pkg.dev/{environment.project}/{names.registry}",
        build_account=f"{names.builder}@{environment.project}.iam.gserviceaccount.com",
        build_bucket=names.build_bucket,
        backup_bucket=names.backup_bucket,
        roles=names.roles,
    )
    variables = {
        roots.FOUNDATION: foundation_variables(environment),
        roots.PLATFORM: platform_variables(
            environment, foundation, images=None, redis_admin_version=None, protect=environment.protect
        ),
        **{roots.clinic_root(clinic): {} for clinic in environment.clinics},
    }
    written = [
        render(
            root.kind,
            environment_name=environment.name,
            state_bucket=names.state_bucket,
            state_prefix=f"{environment.name}/{root.path}",
            variables=values,
            into=output / root.path,
        )
        for root, values in variables.items()
    ]
    folders = [str(folder) for folder in written]
    console.result(
        {"folders": folders},
        "\n".join(folders)
        + "\nApply them in this order with terraform init, plan, apply; a clinic asks for the platform's outputs.",
    )
