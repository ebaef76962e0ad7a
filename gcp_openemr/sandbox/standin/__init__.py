"""The application that stands in for OpenEMR in a rehearsal, and backups to restore into it."""
