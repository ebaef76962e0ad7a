<?php

/**
 * Where the database is, as OpenEMR finds it: the site's own sqlconf.php sets $sqlconf and $config.
 */

require $GLOBALS['OE_SITE_DIR'] . '/sqlconf.php';
