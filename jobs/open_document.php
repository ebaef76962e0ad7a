<?php

/**
 * Opens an encrypted document of a restored copy with the copy's own keys, through OpenEMR's own code. The environment
 * names the copy's schema; stdin is a JSON object, document id → file.
 *
 *   php open_document.php APPLICATION SITE
 *
 * Prints the id of the first encrypted document, or "keys" where there is none and only the keys were opened.
 */

$_GET['site'] = 'default';
$_SERVER['HTTP_HOST'] = 'localhost';
$_SERVER['REQUEST_URI'] = '/';
$ignoreAuth = true;
chdir($argv[1] . '/interface');
require $argv[1] . '/interface/globals.php';
$GLOBALS['OE_SITE_DIR'] = $argv[2];

$crypto = new OpenEMR\Common\Crypto\CryptoGen();
foreach (json_decode(stream_get_contents(STDIN), true) as $id => $file) {
    $content = (string) file_get_contents($file);
    if ($crypto->cryptCheckStandard($content)) {
        if ($crypto->decryptStandard($content) === false) {
            fwrite(STDERR, "the restored keys do not open document $id\n");
            exit(1);
        }
        echo $id;
        exit(0);
    }
}
echo 'keys';
exit($crypto->decryptStandard($crypto->encryptStandard('probe')) === 'probe' ? 0 : 1);
