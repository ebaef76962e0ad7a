<?php

// The version this line of the stand-in claims to be, in OpenEMR's own variables.
$v_major = '8';
$v_minor = '4';
$v_patch = '0';
$v_tag = '';
$v_realpatch = '0';
$v_database = 540;
$v_acl = 13;
