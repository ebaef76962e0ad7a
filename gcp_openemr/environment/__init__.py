"""The environment file: read, validated as a whole, and turned into frozen values and resource names."""

from __future__ import annotations

from gcp_openemr.environment.environment import Clinic, Environment
from gcp_openemr.environment.load import load_environment
from gcp_openemr.environment.model import Database, Files, Network, OpenEmr, Restore
from gcp_openemr.environment.names import ClinicNames, Names
from gcp_openemr.environment.service import Service
from gcp_openemr.environment.template import sample_backup_uri, write_environment_file
from gcp_openemr.environment.versions import OpenEmrLine

__all__ = [
    "Clinic",
    "ClinicNames",
    "Database",
    "Environment",
    "Files",
    "Names",
    "Network",
    "OpenEmr",
    "OpenEmrLine",
    "Restore",
    "Service",
    "load_environment",
    "sample_backup_uri",
    "write_environment_file",
]
