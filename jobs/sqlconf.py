"""sites/default/sqlconf.php: one file for OpenEMR 7.x and 8.x, without a literal password or address.

7.x reads the plain variables and needs `db_encoding`; 8.x reads `$sqlconf` and does not mind the rest. The values come
from the environment of the process that runs PHP, so that a new password or database takes effect with a new revision.
"""

from __future__ import annotations

from pathlib import Path

from jobs import share

__all__ = ["is_configured", "write", "write_authority"]

_TEMPLATE = """\
<?php

// Written by the nfs-init job. The values are those of the running service; none stands in this file.
global $disable_utf8_flag;
$disable_utf8_flag = false;

$host = (string) getenv('MYSQL_HOST');
$port = getenv('MYSQL_PORT') ?: '3306';
$login = (string) getenv('MYSQL_USER');
$pass = (string) getenv('MYSQL_PASS');
$dbase = (string) getenv('MYSQL_DATABASE');
$db_encoding = 'utf8mb4';

global $sqlconf;
$sqlconf = [];
$sqlconf['host'] = $host;
$sqlconf['port'] = $port;
$sqlconf['login'] = $login;
$sqlconf['pass'] = $pass;
$sqlconf['dbase'] = $dbase;
$sqlconf['db_encoding'] = $db_encoding;

$config = {configured};
"""


def write(site: Path, *, configured: bool = True) -> bool:
    """Write the file atomically, for its owner only. False when it is so already."""
    content = _TEMPLATE.replace("{configured}", "1" if configured else "0")
    return share.write_atomically(site / "sqlconf.php", content, mode=share.PRIVATE_MODE)


def is_configured(site: Path) -> bool:
    """Whether the site's file says that OpenEMR is installed, in OpenEMR's own words."""
    file = site / "sqlconf.php"
    if not file.is_file():
        return False
    lines = ("".join(line.split()) for line in file.read_text(errors="replace").splitlines())
    return any(line.startswith("$config=1;") for line in lines)


def write_authority(site: Path, authority: str) -> bool:
    """Write documents/certificates/mysql-ca, whose presence makes OpenEMR use TLS. False when nothing changed."""
    certificates = site / "documents" / "certificates"
    file = certificates / "mysql-ca"
    if not authority:
        with share.errors_told(f"{file} cannot be removed"):
            existed = file.is_file()
            file.unlink(missing_ok=True)
        return existed
    share.ensure_directory(certificates)
    return share.write_atomically(file, authority.rstrip() + "\n")
