<?php

/**
 * Runs one of OpenEMR's own scripts that upgrade a database, for one site, as its command line and its form would.
 *
 *   php upgrade.php APPLICATION SITE SCRIPT FROM
 */

[, $application, $site, $script, $from] = $argv;
$_GET['site'] = $site;
// lines before 8.1.1 know the form only
$_POST['form_submit'] = 'Upgrade Database';
$_POST['form_old_version'] = $from;
$argv = $_SERVER['argv'] = [$script, "--from=$from"];
chdir($application);
require "$application/$script";
