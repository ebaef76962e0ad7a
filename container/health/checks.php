<?php

/**
 * The checks behind /health/ready. They read the environment of the service and do not boot OpenEMR.
 */

declare(strict_types=1);

/** Logs why a part is not ready; the answer itself only says that it is not. */
function told(string $part, Throwable $error): string
{
    error_log("/health/ready: $part: " . $error->getMessage());
    return 'failed';
}

function database_connection(): mysqli
{
    mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
    $database = mysqli_init();
    $database->options(MYSQLI_OPT_CONNECT_TIMEOUT, 3);
    $database->options(MYSQLI_OPT_READ_TIMEOUT, 3);
    $flags = 0;
    $bundle = getenv('OPENEMR_RUN') . '/mysql-ca.pem';
    if (getenv('MYSQL_SSL_CA')) {
        $database->ssl_set(null, null, $bundle, null, null);
        $flags = MYSQLI_CLIENT_SSL | MYSQLI_CLIENT_SSL_VERIFY_SERVER_CERT;
    }
    // php writes a warning beside the exception; the exception says it all
    @$database->real_connect(
        getenv('MYSQL_HOST'),
        getenv('MYSQL_USER'),
        getenv('MYSQL_PASS'),
        getenv('MYSQL_DATABASE'),
        (int) (getenv('MYSQL_PORT') ?: 3306),
        null,
        $flags
    );
    $database->query('SELECT 1');
    return $database;
}

function check_sessions(): void
{
    $server = (string) getenv('REDIS_SERVER');
    if ($server === '') {
        return;
    }
    $redis = new Redis();
    $redis->connect($server, (int) (getenv('REDIS_PORT') ?: 6379), 3.0, null, 0, 3.0);
    $password = (string) getenv('REDIS_PASSWORD');
    if ($password !== '') {
        $user = (string) getenv('REDIS_USERNAME');
        $redis->auth($user === '' ? [$password] : [$user, $password]);
    }
    $redis->ping();
    $redis->close();
}

function check_sites(string $site): void
{
    if (!is_writable("$site/documents")) {
        throw new RuntimeException('sites/default/documents cannot be written');
    }
    if (!is_readable("$site/sqlconf.php")) {
        throw new RuntimeException('sites/default/sqlconf.php cannot be read');
    }
}

/**
 * Every key in the database has its counterpart on the share, and the other way round. OpenEMR makes a new key where
 * it finds none, and what the old one locked is lost. The oldest kinds (one, two, three) lay on the share only.
 */
function check_keys(?mysqli $database, string $site): void
{
    if ($database === null) {
        throw new RuntimeException('not known without the database');
    }
    $rows = array_column($database->query('SELECT `name` FROM `keys`')->fetch_all(), 0);
    $rows = array_values(array_filter($rows, fn ($name) => !str_starts_with($name, 'oauth')));
    $files = array_map('basename', glob("$site/documents/logs_and_misc/methods/*") ?: []);
    $files = array_values(array_filter($files, fn ($name) => !preg_match('/^(one|two|three)/', $name)));
    $lonely = array_merge(array_diff($rows, $files), array_diff($files, $rows));
    if ($lonely !== []) {
        throw new RuntimeException('keys without counterpart: ' . implode(', ', $lonely));
    }
    if ($rows === []) {
        throw new RuntimeException('no keys');
    }
}
