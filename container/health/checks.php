<?php

/**
 * The checks behind /health/ready, and the connections they make. They read the environment of the service and do not
 * boot OpenEMR.
 */

declare(strict_types=1);

/** Seconds for one step of a check; the whole answer comes before Apache gives up on it. */
const STEP_SECONDS = 2;

/** Logs why a part is not ready; the answer itself only says that it is not. */
function told(string $part, Throwable $error): string
{
    error_log("/health/ready: $part: " . $error->getMessage());
    return 'failed';
}

function database_connection(): mysqli
{
    mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
    $database = mysqli_init();
    $database->options(MYSQLI_OPT_CONNECT_TIMEOUT, STEP_SECONDS);
    $database->options(MYSQLI_OPT_READ_TIMEOUT, STEP_SECONDS);
    $flags = 0;
    if (getenv('MYSQL_SSL_CA')) {
        $database->ssl_set(null, null, getenv('OPENEMR_RUN') . '/mysql-ca.pem', null, null);
        $flags = MYSQLI_CLIENT_SSL | MYSQLI_CLIENT_SSL_VERIFY_SERVER_CERT;
    }
    // php writes a warning beside the exception; the exception says it all
    @$database->real_connect(
        getenv('MYSQL_HOST'),
        getenv('MYSQL_USER'),
        getenv('MYSQL_PASS'),
        getenv('MYSQL_DATABASE'),
        (int) (getenv('MYSQL_PORT') ?: 3306),
        null,
        $flags
    );
    $database->query('SELECT 1');
    return $database;
}

function sessions_in_files(): bool
{
    return getenv('OPENEMR_SESSIONS') === 'files';
}

/** @return array{string, int} host with the scheme that PHP's streams know, and port; TLS trusts openssl.cafile */
function redis_address(): array
{
    $tls = getenv('REDIS_SSL_CA') || in_array(getenv('REDIS_TLS'), ['1', 'yes', 'true'], true);
    return [($tls ? 'tls' : 'tcp') . '://' . getenv('REDIS_SERVER'), (int) (getenv('REDIS_PORT') ?: 6379)];
}

/** @return list<string> nothing, the password, or user and password */
function redis_auth(): array
{
    $given = [(string) getenv('REDIS_USERNAME'), (string) getenv('REDIS_PASSWORD')];
    return $given[1] === '' ? [] : array_values(array_filter($given, 'strlen'));
}

/** @throws RedisException why it cannot be reached, or what it refuses */
function redis_connection(): Redis
{
    $redis = new Redis();
    $failed = null;
    // why TLS fails is in a warning only
    set_error_handler(function (int $_, string $message) use (&$failed): bool {
        $failed ??= $message;
        return true;
    });
    try {
        $redis->connect(...[...redis_address(), STEP_SECONDS, null, 0, STEP_SECONDS]);
        if (redis_auth() !== []) {
            $redis->auth(redis_auth());
        }
        $redis->ping();
        return $redis;
    } catch (RedisException $error) {
        throw new RedisException($failed ?? $error->getMessage());
    } finally {
        restore_error_handler();
    }
}

function check_sessions(): void
{
    if (!sessions_in_files()) {
        redis_connection()->close();
    }
}

/**
 * Has the share looked at by another process, which a share that hangs cannot make anybody wait for.
 *
 * @return resource where its answer will be read
 */
function look_at_share(string $site)
{
    $command = ['timeout', '-s', 'KILL', (string) (2 * STEP_SECONDS), 'php', '-n', __DIR__ . '/share.php', $site];
    $pipes = [];
    // kept to the end of the request: without it the pipe is closed
    static $process;
    $process = proc_open($command, [1 => ['pipe', 'w']], $pipes);
    return $pipes[1];
}

/**
 * @param resource $answer of look_at_share
 * @return list<string> names of the keys on the share
 */
function share_keys($answer): array
{
    $read = [$answer];
    $none = null;
    $line = stream_select($read, $none, $none, 2 * STEP_SECONDS) === 1 ? fgets($answer) : false;
    $found = $line === false ? null : json_decode($line, true);
    if ($found === null) {
        throw new RuntimeException('the share does not answer');
    }
    if (isset($found['problem'])) {
        throw new RuntimeException($found['problem']);
    }
    return $found['keys'];
}

/**
 * Every key in the database has its counterpart on the share, and the other way round. OpenEMR makes a new key where
 * it finds none, and what the old one locked is lost. Those of the oldest kinds (one to four) were each for itself.
 *
 * @param list<string>|null $files names of the keys on the share
 */
function check_keys(?mysqli $database, ?array $files): void
{
    if ($database === null || $files === null) {
        throw new RuntimeException('not known without ' . ($database === null ? 'the database' : 'the share'));
    }
    $rows = array_column($database->query("SELECT `name` FROM `keys` WHERE `name` NOT LIKE 'oauth%'")->fetch_all(), 0);
    if ($rows === [] && $files === []) {
        throw new RuntimeException('no keys');
    }
    $rows = array_values(preg_grep('/^(one|two|three|four)/', $rows, PREG_GREP_INVERT));
    $files = array_values(preg_grep('/^(one|two|three|four)/', $files, PREG_GREP_INVERT));
    $lonely = array_merge(array_diff($rows, $files), array_diff($files, $rows));
    if ($lonely !== []) {
        throw new RuntimeException('keys without counterpart: ' . implode(', ', $lonely));
    }
}
