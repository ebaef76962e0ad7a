<?php

/**
 * Installs the stand-in with the same interface as OpenEMR's installer, as far as an installation into a database made
 * beforehand goes: the same variables, the same order of steps, `error_message` after a failure.
 */
class Installer
{
    public string $error_message = '';
    public mysqli|false $dbh = false;

    /** @param array<string, string> $cgi_variables */
    public function __construct(private array $cgi_variables)
    {
        $site = $this->variable('site') ?: 'default';
        $GLOBALS['OE_SITES_BASE'] = dirname(__DIR__, 2) . '/sites';
        $GLOBALS['OE_SITE_DIR'] = $GLOBALS['OE_SITES_BASE'] . "/$site";
    }

    public function quick_install(): bool
    {
        if (!$this->variablesAreValid()) {
            return false;
        }
        foreach (
            ['user_database_connection', 'load_dumpfiles', 'write_configuration_file', 'add_version_info',
             'insert_globals', 'add_initial_user', 'install_gacl', 'install_additional_users'] as $step
        ) {
            try {
                if (!$this->$step()) {
                    return false;
                }
            } catch (mysqli_sql_exception $error) {
                $this->error_message = "$step: " . $error->getMessage();
                return false;
            }
        }
        return true;
    }

    public function user_database_connection(): bool
    {
        $sqlconf = ['host' => $this->variable('server'), 'port' => $this->variable('port'),
                    'login' => $this->variable('login'), 'pass' => $this->variable('pass'),
                    'dbase' => $this->variable('dbname')];
        $this->dbh = self::connect($sqlconf);
        return true;
    }

    public function load_dumpfiles(): bool
    {
        // a later line's installation has more tables, in a file beside
        $dumps = array_map('file_get_contents', glob(dirname(__DIR__, 2) . '/sql/database*.sql'));
        foreach (explode(";\n", implode("\n", $dumps)) as $statement) {
            $statement = trim(preg_replace('/^--.*$/m', '', $statement));
            if ($statement !== '') {
                $this->dbh->query($statement);
            }
        }
        return true;
    }

    public function write_configuration_file(): bool
    {
        $lines = "<?php\n";
        foreach (['host' => 'server', 'port' => 'port', 'login' => 'login', 'pass' => 'pass', 'dbase' => 'dbname'] as $key => $name) {
            $lines .= "\$$key = " . var_export($this->variable($name), true) . ";\n";
        }
        $lines .= "\$sqlconf = compact('host', 'port', 'login', 'pass', 'dbase');\n\$config = 1;\n";
        return file_put_contents($GLOBALS['OE_SITE_DIR'] . '/sqlconf.php', $lines) !== false;
    }

    public function add_version_info(): bool
    {
        include dirname(__DIR__, 2) . '/version.php';
        return $this->execute(
            'UPDATE `version` SET `v_major` = ?, `v_minor` = ?, `v_patch` = ?, `v_realpatch` = ?, `v_tag` = ?, '
            . '`v_database` = ?, `v_acl` = ?',
            [$v_major, $v_minor, $v_patch, $v_realpatch, $v_tag, $v_database, $v_acl]
        );
    }

    public function insert_globals(): bool
    {
        return $this->execute(
            "INSERT IGNORE INTO `globals` (`gl_name`, `gl_index`, `gl_value`) VALUES ('openemr_name', 0, ?), "
            . "('drive_encryption', 0, '1'), ('site_addr_oath', 0, '')",
            ['OpenEMR']
        );
    }

    public function add_initial_user(): bool
    {
        $user = $this->variable('iuser');
        $hash = password_hash($this->variable('iuserpass'), PASSWORD_DEFAULT);
        return $this->execute('INSERT INTO `groups` (`id`, `name`, `user`) VALUES (1, ?, ?)', [$this->variable('igroup'), $user])
            && $this->execute(
                "INSERT INTO `users` (`id`, `username`, `password`, `authorized`, `lname`, `fname`) "
                . "VALUES (1, ?, 'NoLongerUsed', 1, ?, ?)",
                [$user, $this->variable('iuname'), $this->variable('iufname')]
            )
            && $this->execute(
                'INSERT INTO `users_secure` (`id`, `username`, `password`, `last_update_password`) VALUES (1, ?, ?, NOW())',
                [$user, $hash]
            );
    }

    public function install_gacl(): bool
    {
        return $this->execute(
            "INSERT INTO `gacl_aro_groups` (`id`, `parent_id`, `lft`, `rgt`, `name`, `value`) "
            . "VALUES (10, 0, 1, 4, 'OpenEMR Users', 'users'), (11, 10, 2, 3, 'Administrators', 'admin')",
            []
        ) && $this->execute(
            "INSERT INTO `gacl_aro` (`id`, `section_value`, `value`, `order_value`, `name`) VALUES (10, 'users', ?, 10, ?)",
            [$this->variable('iuser'), $this->variable('iuname')]
        ) && $this->execute('INSERT INTO `gacl_groups_aro_map` (`group_id`, `aro_id`) VALUES (11, 10)', []);
    }

    public function install_additional_users(): bool
    {
        return $this->execute(
            "INSERT INTO `users` (`id`, `username`, `password`, `authorized`, `lname`, `active`) "
            . "VALUES (2, 'oe-system', 'NoLongerUsed', 0, 'System Operation User', 0)",
            []
        );
    }

    private function variable(string $name): string
    {
        return (string) ($this->cgi_variables[$name] ?? '');
    }

    private function variablesAreValid(): bool
    {
        if ($this->variable('no_root_db_access') === '') {
            $this->error_message = 'The stand-in installs only into a database made beforehand (no_root_db_access).';
        } elseif ($this->variable('login') === '' || $this->variable('pass') === '') {
            $this->error_message = 'login or password for the database is invalid';
        } elseif (str_contains($this->variable('iuser'), ' ') || $this->variable('iuser') === '') {
            $this->error_message = 'Initial user is invalid';
        } elseif ($this->variable('iuserpass') === '') {
            $this->error_message = 'The password for the user is invalid';
        }
        return $this->error_message === '';
    }

    /** @param list<mixed> $values */
    private function execute(string $statement, array $values): bool
    {
        return $this->dbh->prepare($statement)->execute($values);
    }

    /** @param array<string, mixed> $sqlconf */
    private static function connect(array $sqlconf): mysqli
    {
        mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
        $database = mysqli_init();
        $bundle = $GLOBALS['OE_SITE_DIR'] . '/documents/certificates/mysql-ca';
        $flags = 0;
        if (is_file($bundle)) {
            $database->ssl_set(null, null, $bundle, null, null);
            $flags = MYSQLI_CLIENT_SSL;
        }
        @$database->real_connect(
            $sqlconf['host'],
            $sqlconf['login'],
            $sqlconf['pass'],
            $sqlconf['dbase'],
            (int) $sqlconf['port'] ?: 3306,
            null,
            $flags
        );
        $database->query("SET sql_mode = ''");
        $database->set_charset('utf8mb4');
        return $database;
    }
}
