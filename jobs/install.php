<?php

/**
 * Runs OpenEMR's own installer as the application's database user. Reads the variables as JSON from stdin, so that no
 * password is in an argument and none is parsed; prints the installer's complaint to stderr and ends with 1.
 *
 *   php install.php APPLICATION < variables.json
 */

declare(strict_types=1);

$application = $argv[1];
$variables = json_decode(stream_get_contents(STDIN), true, 4, JSON_THROW_ON_ERROR);
chdir($application);
require "$application/vendor/autoload.php";
require "$application/library/classes/Installer.class.php";

/** Leaves the site's sqlconf.php, which reads the environment, as it is: the original writes the password into it. */
class InstallerWithoutPasswordFile extends Installer
{
    public function write_configuration_file(): bool
    {
        return true;
    }
}

$installer = new InstallerWithoutPasswordFile($variables);
if (!$installer->quick_install()) {
    // a failed statement is repeated in the message, and with it the hash of the first password
    fwrite(STDERR, preg_replace('/\$2y\$\S+/', '[redacted]', strip_tags($installer->error_message)) . "\n");
    exit(1);
}
