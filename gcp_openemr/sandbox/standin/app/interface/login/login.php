<?php

$ignoreAuth = true;
require_once dirname(__DIR__) . '/globals.php';

$failed = isset($_GET['failed']) ? '<p role="alert">Invalid username or password.</p>' : '';
page('OpenEMR Login', <<<HTML
    $failed
    <form method="post" action="/interface/main/main_screen.php?auth=login&amp;site=default" id="login_form">
      <label>Username <input type="text" name="authUser" autocomplete="username" required></label>
      <label>Password <input type="password" name="clearPass" autocomplete="current-password" required></label>
      <button type="submit">Login</button>
    </form>
    HTML);
