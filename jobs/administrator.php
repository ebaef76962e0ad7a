<?php

/**
 * Looks at a user as OpenEMR's login does: whether the stored hash is of one of some passwords, what locks the user out,
 * which second factors there are; and hashes a new password as OpenEMR would keep it. Changes one thing: a second factor
 * that the installer locked with the hash of the password, which OpenEMR reads only until that changes, is locked with
 * OpenEMR's own key.
 *
 *   php administrator.php APPLICATION < {"user": "admin", "passwords": ["…"], "fresh": "…" or null}
 *
 * Prints a JSON object.
 */

$_GET['site'] = 'default';
$_SERVER['HTTP_HOST'] = 'localhost';
$_SERVER['REQUEST_URI'] = '/';
$ignoreAuth = true;
$given = json_decode(stream_get_contents(STDIN), true, 4, JSON_THROW_ON_ERROR);
chdir($argv[1] . '/interface');
require $argv[1] . '/interface/globals.php';

function table_is_there(string $table): bool
{
    return !empty(sqlQuery(
        'SELECT 1 AS `there` FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?',
        [$table]
    ));
}

function setting(string $name): string
{
    $row = sqlQuery('SELECT `gl_value` FROM `globals` WHERE `gl_name` = ? AND `gl_index` = 0', [$name]);
    return (string) ($row['gl_value'] ?? '');
}

/** OpenEMR's own class knows the algorithm that the clinic chose. */
function hashed(string $password): string
{
    $class = 'OpenEMR\\Common\\Auth\\AuthHash';
    return class_exists($class) ? (new $class())->passwordHash($password) : password_hash($password, PASSWORD_DEFAULT);
}

function verifies(string $password, string $hash): bool
{
    $class = 'OpenEMR\\Common\\Auth\\AuthHash';
    return class_exists($class) ? $class::passwordVerify($password, $hash) : password_verify($password, $hash);
}

/** @return list<string> the methods of the user's second factors, which all stay usable */
function second_factors(int $user, string $hash): array
{
    if (!table_is_there('login_mfa_registrations')) {
        return [];
    }
    $crypto = new OpenEMR\Common\Crypto\CryptoGen();
    $found = [];
    foreach (['TOTP', 'U2F'] as $method) {
        $row = sqlQuery('SELECT `var1` FROM `login_mfa_registrations` WHERE `user_id` = ? AND `method` = ?', [$user, $method]);
        if (empty($row)) {
            continue;
        }
        $found[] = $method;
        if ($method === 'TOTP' && empty($crypto->decryptStandard($row['var1']))) {
            $secret = $crypto->decryptStandard($row['var1'], $hash);
            if (!empty($secret)) {
                sqlStatement(
                    'UPDATE `login_mfa_registrations` SET `var1` = ? WHERE `user_id` = ? AND `method` = ? AND `var1` = ?',
                    [$crypto->encryptStandard($secret), $user, $method, $row['var1']]
                );
            }
        }
    }
    return $found;
}

$user = sqlQuery(
    'SELECT s.`id`, s.`password`, s.`login_fail_counter` AS `failed`, u.`active` FROM `users_secure` s '
    . 'JOIN `users` u ON u.`id` = s.`id` WHERE BINARY s.`username` = ?',
    [$given['user']]
);
if (empty($user)) {
    echo json_encode(['found' => false]);
    exit;
}
$most = (int) setting('password_max_failed_logins');
echo json_encode([
    'found' => true,
    'verifies' => array_map(fn ($password) => verifies($password, $user['password']), $given['passwords']),
    'stored' => $user['password'],
    'second_factors' => second_factors((int) $user['id'], $user['password']),
    'locked_by' => array_keys(array_filter([
        'failed logins' => $most > 0 && (int) $user['failed'] >= $most,
        'inactive' => (int) $user['active'] !== 1,
    ])),
    'fresh' => $given['fresh'] === null ? null : hashed($given['fresh']),
]);
