"""Pipelines over our own commands, for GitHub, GitLab and Cloud Build."""
