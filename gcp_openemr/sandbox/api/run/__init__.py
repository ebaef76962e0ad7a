"""Cloud Run Admin v2: services with their revisions and traffic, jobs with their executions."""
