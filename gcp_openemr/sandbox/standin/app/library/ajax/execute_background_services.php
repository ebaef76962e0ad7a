<?php

/**
 * Marks the background services that are due as run. The real ones send mail, reminders and results; nothing leaves here.
 */

if (PHP_SAPI !== 'cli') {
    http_response_code(403);
    exit;
}
$_GET['site'] = $argv[1] ?? 'default';
$ignoreAuth = true;
require_once dirname(__DIR__, 2) . '/interface/globals.php';

$due = 'SELECT `name`, `execute_interval` FROM `background_services` WHERE `active` = 1 AND `execute_interval` > 0 '
    . 'AND `running` < 1 AND NOW() > `next_run` ORDER BY `sort_order`';
foreach (sqlRows($due) as $service) {
    sqlStatement(
        'UPDATE `background_services` SET `next_run` = NOW() + INTERVAL ? MINUTE WHERE `name` = ?',
        [$service['execute_interval'], $service['name']]
    );
}
