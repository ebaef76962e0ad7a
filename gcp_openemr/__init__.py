"""OpenEMR on Google Cloud, from one command."""

__version__ = "0.1.0"
