"""`python -m benchmarks`: every benchmark, one after the other."""

from __future__ import annotations

from benchmarks import backup, container, deploy, restore, rotation, sandbox

if __name__ == "__main__":
    deploy.main()
    sandbox.main()
    container.main()
    restore.main()
    rotation.main()
    backup.main()
