<?php

/**
 * Whether this instance can serve the clinic: database, sessions, share and keys, each with its own time limit.
 * Answers 200 or 503 with one word for each part; says nothing that an outsider could use.
 */

declare(strict_types=1);

require __DIR__ . '/checks.php';

header('Content-Type: application/json');
header('Cache-Control: no-store');
$parts = [];
$known = ['database' => null, 'sites' => null];
$share = look_at_share('/var/www/localhost/htdocs/openemr/sites/default');
$checks = [
    'database' => fn () => database_connection(),
    'sessions' => fn () => check_sessions(),
    'sites' => fn () => share_keys($share),
    'keys' => function () use (&$known): void {
        check_keys($known['database'], $known['sites']);
    },
];
foreach ($checks as $part => $check) {
    try {
        $known[$part] = $check();
        $parts[$part] = 'ok';
    } catch (Throwable $error) {
        $parts[$part] = told($part, $error);
    }
}
$ready = array_unique(array_values($parts)) === ['ok'];
http_response_code($ready ? 200 : 503);
echo json_encode(['status' => $ready ? 'ok' : 'not ready', 'checks' => $parts]), "\n";
