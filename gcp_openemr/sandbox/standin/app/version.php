<?php

// The version this stand-in claims to be, in OpenEMR's own variables.
$v_major = '7';
$v_minor = '0';
$v_patch = '4';
$v_tag = '';
$v_realpatch = '0';
$v_database = 517;
$v_acl = 12;
