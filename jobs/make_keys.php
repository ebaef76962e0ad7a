<?php

/**
 * Makes the clinic's encryption keys, in the database and on the share, through OpenEMR's own code. OpenEMR would make
 * them with the first value it encrypts; made now, a missing key later always means a loss.
 *
 *   php make_keys.php APPLICATION
 */

$_GET['site'] = 'default';
$_SERVER['HTTP_HOST'] = 'localhost';
$_SERVER['REQUEST_URI'] = '/';
$ignoreAuth = true;
chdir($argv[1] . '/interface');
require $argv[1] . '/interface/globals.php';

$crypto = new OpenEMR\Common\Crypto\CryptoGen();
$probe = $crypto->encryptStandard('probe');
exit($crypto->decryptStandard($probe) === 'probe' ? 0 : 1);
