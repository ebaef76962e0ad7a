<?php

/**
 * The database of the site. TLS begins when the site holds documents/certificates/mysql-ca, as in OpenEMR.
 */

require_once __DIR__ . '/sqlconf.php';

/** @param array<string, mixed> $settings keys host, port, login, pass and dbase of $sqlconf */
function sqlConnect(array $settings, string $siteDirectory): mysqli
{
    mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
    $database = mysqli_init();
    $database->options(MYSQLI_OPT_CONNECT_TIMEOUT, 10);
    $flags = 0;
    $bundle = "$siteDirectory/documents/certificates/mysql-ca";
    if (is_file($bundle)) {
        $database->ssl_set(null, null, $bundle, null, null);
        $flags = MYSQLI_CLIENT_SSL;
    }
    @$database->real_connect(
        (string) $settings['host'],
        (string) $settings['login'],
        (string) $settings['pass'],
        (string) $settings['dbase'],
        (int) $settings['port'] ?: 3306,
        null,
        $flags
    );
    $database->set_charset('utf8mb4');
    return $database;
}

/** @param list<mixed> $values */
function sqlStatement(string $statement, array $values = []): mysqli_result|bool
{
    $prepared = $GLOBALS['dbh']->prepare($statement);
    $prepared->execute(array_map(fn ($value) => $value === null ? null : (string) $value, $values));
    return $prepared->get_result() ?: true;
}

/**
 * @param list<mixed> $values
 * @return array<string, mixed>|null
 */
function sqlQuery(string $statement, array $values = []): ?array
{
    $result = sqlStatement($statement, $values);
    return $result instanceof mysqli_result ? $result->fetch_assoc() : null;
}

/**
 * @param list<mixed> $values
 * @return list<array<string, mixed>>
 */
function sqlRows(string $statement, array $values = []): array
{
    $result = sqlStatement($statement, $values);
    return $result instanceof mysqli_result ? $result->fetch_all(MYSQLI_ASSOC) : [];
}

/** @param list<mixed> $values */
function sqlInsert(string $statement, array $values = []): int
{
    sqlStatement($statement, $values);
    return (int) $GLOBALS['dbh']->insert_id;
}

$GLOBALS['dbh'] = sqlConnect($sqlconf, $GLOBALS['OE_SITE_DIR']);
