<?php

/**
 * The start of every page: the site, its database and the session. Pages for people without a login set $ignoreAuth.
 */

require_once dirname(__DIR__) . '/vendor/autoload.php';

$GLOBALS['fileroot'] = dirname(__DIR__);
$GLOBALS['OE_SITES_BASE'] = $GLOBALS['fileroot'] . '/sites';
$site = PHP_SAPI === 'cli' ? basename($_GET['site'] ?? 'default') : 'default';
$GLOBALS['OE_SITE_DIR'] = $GLOBALS['OE_SITES_BASE'] . "/$site";
require_once dirname(__DIR__) . '/version.php';
require_once dirname(__DIR__) . '/library/sql.inc.php';
require_once dirname(__DIR__) . '/library/page.php';

if (PHP_SAPI !== 'cli') {
    session_name('OpenEMR');
    if (!session_start(['cookie_path' => '/', 'cookie_secure' => !empty($_SERVER['HTTPS'])])) {
        http_response_code(500);
        page('OpenEMR', '<p role="alert">Sessions cannot be kept at the moment.</p>');
        exit;
    }
    if (empty($ignoreAuth) && !sessionIsValid()) {
        header('Location: /interface/login/login.php?site=default');
        exit;
    }
}

/** A session ends when the user's password changes, since it remembers the hash it began with. */
function sessionIsValid(): bool
{
    if (empty($_SESSION['authUserID'])) {
        return false;
    }
    $row = sqlQuery('SELECT `password` FROM `users_secure` WHERE `id` = ?', [$_SESSION['authUserID']]);
    return $row !== null && hash_equals($row['password'], (string) $_SESSION['authPass']);
}
