"""Compute Engine v1, as far as a clinic's platform uses it: networks, addresses, disks, machines, endpoints."""
