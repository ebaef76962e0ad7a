<?php

/**
 * Lets OpenEMR run the background services of the default site that are due, as its documentation has cron do it.
 *
 *   php background_services.php APPLICATION
 */

[, $application] = $argv;
$_SERVER['HTTP_HOST'] = 'localhost';
$_SERVER['REQUEST_URI'] = '/';
$argv = $_SERVER['argv'] = ['execute_background_services.php', 'default'];
chdir("$application/library/ajax");
require "$application/library/ajax/execute_background_services.php";
