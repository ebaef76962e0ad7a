"""Starts for real what Cloud Run, Cloud SQL and Compute Engine would start: processes in namespaces of their own.

```
daemon ── LocalRuntime (local.py) ─┬─ services.py ── frontdoor.py, probes.py      Cloud Run services
                                   ├─ jobs.py                                     Cloud Run executions
                                   ├─ database.py ── accounts.py                  Cloud SQL: mysqld
                                   ├─ machine.py ── boot.py, machine/             start-up script, share, Redis
                                   └─ images.py ── dockerfile.py                  Cloud Build
        every process: processes.py ── launcher.py ── namespaces.py, network.py   (root file system, network, uid)
        for them:      cgroups.py (limits), disks.py (block devices), vpc.py (firewall), troubles.py (bad days)
        around them:   metadata.py, resolver.py, certificates.py, alpine.py, logs.py, record.py
```
"""
