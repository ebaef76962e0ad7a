"""Backup archives: .zip, .tar, .tar.gz, .tar.zst and OpenEMR's own backup.tar, known by content, read as one stream.

Names that leave their folder, damage and bombs stop the reading. Links and devices come out as such, without content:
whoever unpacks decides whether they lie where it matters.

`formats` tells one archive from another, `tarring` and `zipping` read the two families, `packing` unpacks gzip and
zstd. Nothing here holds more than a few MiB, however large the archive is.
"""

from jobs.archives.entries import Entry, Limits
from jobs.archives.formats import entries

__all__ = ["Entry", "Limits", "entries"]
