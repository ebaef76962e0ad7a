"""What keeps an environment from working, looked for before anybody runs into it. Nothing here changes anything."""

from gcp_openemr.doctor.examine import examine
from gcp_openemr.doctor.model import Check, Finding, Level, Subject
from gcp_openemr.doctor.table import CHECKS

__all__ = ["CHECKS", "Check", "Finding", "Level", "Subject", "examine"]
