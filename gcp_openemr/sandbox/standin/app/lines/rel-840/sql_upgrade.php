<?php

/**
 * Upgrades the database from an older release, with OpenEMR's command line (`--from=7.0.4`) and its habits: files of
 * sql/ in their order, sections that are done already skipped, a statement that fails told of and passed over, then
 * access rows, and the version last. It ends with 0 also after failures.
 */

$GLOBALS['force_simple_sql_upgrade'] = true;
$from = null;
foreach ($argv ?? [] as $argument) {
    if (str_starts_with($argument, '--from=')) {
        $from = substr($argument, 7);
    }
}
$ignoreAuth = true;
require_once 'interface/globals.php';

function holds(string $condition): bool
{
    [$kind, $table, $column] = [...explode(' ', $condition), ''];
    $there = sqlQuery(
        'SELECT COUNT(*) AS n FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?'
        . ($column === '' ? '' : ' AND COLUMN_NAME = ?'),
        $column === '' ? [$table] : [$table, $column]
    )['n'] > 0;
    return match ($kind) {
        '#IfNotTable', '#IfMissingColumn' => !$there,
        default => $there,
    };
}

function upgradeFromSqlFile(string $name): void
{
    echo "<p class='text-success'>Processing $name...</p>\n";
    $skipping = false;
    $query = '';
    foreach (file(__DIR__ . "/sql/$name", FILE_IGNORE_NEW_LINES) as $line) {
        $line = rtrim($line);
        if (str_starts_with($line, '#If')) {
            $skipping = !holds($line);
            echo $skipping ? "<p class='text-success'>Skipping section $line</p>\n" : '';
        } elseif ($line === '#EndIf') {
            $skipping = false;
        } elseif (!$skipping && $line !== '' && !str_starts_with($line, '--')) {
            $query .= " $line";
        }
        if (str_ends_with($query, ';')) {
            echo "$query<br />\n";
            try {
                sqlStatement(rtrim($query, ';'));
            } catch (mysqli_sql_exception $error) {
                echo "<p class='text-danger'>The above statement failed: " . $error->getMessage()
                    . "<br />Upgrading will continue.<br /></p>\n";
            }
            $query = '';
        }
    }
}

$files = array_map('basename', glob(__DIR__ . '/sql/*-to-*_upgrade.sql'));
sort($files);
foreach ($files as $file) {
    if (strcmp(strtr(strstr($file, '-to-', true), '_', '.'), (string) $from) >= 0) {
        upgradeFromSqlFile($file);
    }
}
echo "<p class='text-success'>Updating UUIDs (this could take some time)</p>\n";
sqlStatement("UPDATE `patient_data` SET `uuid` = UNHEX(REPLACE(UUID(), '-', '')) WHERE `uuid` IS NULL");
echo "<p class='text-success'>Updating Access Controls...</p>\n";
require 'acl_upgrade.php';
sqlStatement(
    'UPDATE `version` SET `v_major` = ?, `v_minor` = ?, `v_patch` = ?, `v_realpatch` = ?, `v_tag` = ?, `v_database` = ?',
    [$v_major, $v_minor, $v_patch, $v_realpatch, $v_tag, $v_database]
);
echo "<p class='text-success'>Database and Access Control upgrade finished.</p>\n";
exit();
