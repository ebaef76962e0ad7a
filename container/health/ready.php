<?php

/**
 * Whether this instance can serve the clinic: database, sessions, share and keys, each with its own time limit.
 * Answers 200 or 503 with one word for each part; says nothing that an outsider could use.
 */

declare(strict_types=1);

require __DIR__ . '/checks.php';

header('Content-Type: application/json');
header('Cache-Control: no-store');
$site = '/var/www/localhost/htdocs/openemr/sites/default';
$parts = [];
try {
    $database = database_connection();
    $parts['database'] = 'ok';
} catch (Throwable $error) {
    $database = null;
    $parts['database'] = told('database', $error);
}
foreach (['sessions' => fn () => check_sessions(), 'sites' => fn () => check_sites($site),
          'keys' => fn () => check_keys($database, $site)] as $part => $check) {
    try {
        $check();
        $parts[$part] = 'ok';
    } catch (Throwable $error) {
        $parts[$part] = told($part, $error);
    }
}
$ready = array_unique(array_values($parts)) === ['ok'];
http_response_code($ready ? 200 : 503);
echo json_encode(['status' => $ready ? 'ok' : 'not ready', 'checks' => $parts]), "\n";
