<?php

/**
 * After the login form: checks the password and begins the session. With a session: the main screen.
 */

$ignoreAuth = ($_GET['auth'] ?? '') === 'login';
require_once dirname(__DIR__) . '/globals.php';

/** @return array<string, mixed>|null the user, when name and password are right and the user is active */
function userByPassword(string $name, string $password): ?array
{
    $row = sqlQuery(
        'SELECT s.`id`, s.`username`, s.`password` FROM `users_secure` s JOIN `users` u ON u.`id` = s.`id` '
        . 'WHERE BINARY s.`username` = ? AND u.`active` = 1',
        [$name]
    );
    // without a user the same work is done, so that the time tells nothing
    $hash = $row['password'] ?? '$2y$10$vI8aWBnW3fID.ZQ4/zo1G.q1lRps.9cGLcZEiGDMVr5yUP1KUOYTa';
    return password_verify($password, $hash) && $row !== null ? $row : null;
}

if ($ignoreAuth) {
    $user = userByPassword((string) ($_POST['authUser'] ?? ''), (string) ($_POST['clearPass'] ?? ''));
    if ($user === null) {
        header('Location: /interface/login/login.php?site=default&failed=1', true, 303);
        exit;
    }
    session_regenerate_id(true);
    $_SESSION['authUser'] = $user['username'];
    $_SESSION['authUserID'] = $user['id'];
    $_SESSION['authPass'] = $user['password'];
    header('Location: /interface/main/main_screen.php?site=default', true, 303);
    exit;
}

$patients = '';
foreach (sqlRows('SELECT `pid`, `fname`, `lname` FROM `patient_data` ORDER BY `pid`') as $patient) {
    $link = '/controller.php?document&amp;list&amp;patient_id=' . $patient['pid'];
    $patients .= "<li><a href=\"$link\">" . text("{$patient['fname']} {$patient['lname']}") . '</a></li>';
}
$user = text($_SESSION['authUser']);
$version = text(implode('.', array_values(sqlQuery('SELECT `v_major`, `v_minor`, `v_patch` FROM `version`') ?? [])));
page('OpenEMR', <<<HTML
    <p>Logged in as <b id="user">$user</b>. Data of version <b id="version">$version</b>.
    <a href="/interface/logout.php">Logout</a></p>
    <h2>Patients' documents</h2>
    <ul id="patients">$patients</ul>
    HTML);
