<?php

$ignoreAuth = true;
require_once __DIR__ . '/globals.php';

$_SESSION = [];
session_destroy();
header('Location: /interface/login/login.php?site=default', true, 303);
