"""The environment file: read, validated as a whole, and turned into frozen values and resource names."""

from __future__ import annotations

from gcp_openemr.environment.names import ClinicNames, Names

__all__ = ["ClinicNames", "Names"]
