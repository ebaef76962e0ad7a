<?php

/** Brings access rows to this line, version by version, as OpenEMR's script does; sql_upgrade.php requires it. */

if ((int) sqlQuery('SELECT `v_acl` FROM `version`')['v_acl'] < 13) {
    sqlStatement(
        "INSERT IGNORE INTO `gacl_aro_groups` (`id`, `parent_id`, `lft`, `rgt`, `name`, `value`) "
        . "VALUES (12, 10, 4, 5, 'Care Teams', 'teams')"
    );
    sqlStatement('UPDATE `version` SET `v_acl` = 13');
}
