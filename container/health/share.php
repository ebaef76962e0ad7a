<?php

/**
 * Looks at the clinic's share, for /health/ready: share.php SITE prints {"keys": […]} or {"problem": "…"}.
 * One look at a time: where an earlier one still waits for a hanging share, the next does not go there too.
 */

declare(strict_types=1);

$site = $argv[1];
$lock = fopen(getenv('OPENEMR_RUN') . '/share.lock', 'c');
for ($left = 30; !flock($lock, LOCK_EX | LOCK_NB); $left--) {
    if ($left === 0) {
        exit(1);
    }
    usleep(100_000);
}
$problem = match (true) {
    !is_writable("$site/documents") => 'sites/default/documents cannot be written',
    @file_get_contents("$site/sqlconf.php", length: 1) === false => 'sites/default/sqlconf.php cannot be read',
    default => null,
};
$keys = array_map('basename', glob("$site/documents/logs_and_misc/methods/*") ?: []);
echo json_encode($problem === null ? ['keys' => $keys] : ['problem' => $problem]), "\n";
