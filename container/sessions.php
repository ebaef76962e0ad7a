<?php

/**
 * Where sessions are kept. `sessions.php ini` prints the ini settings that only the running instance knows;
 * `sessions.php check` keeps one session under them, as every page will.
 *
 * check ends with 0, with 75 when Redis does not answer (yet), with 78 when it refuses; stdout says why.
 */

declare(strict_types=1);

require __DIR__ . '/health/checks.php';

function ini(): void
{
    if (sessions_in_files()) {
        echo "session.save_handler = files\nsession.save_path = /tmp\n";
        return;
    }
    [$host, $port] = redis_address();
    $query = ['prefix' => (getenv('REDIS_PREFIX') ?: '') . 'PHPREDIS_SESSION:', 'timeout' => 5, 'read_timeout' => 5];
    $auth = redis_auth();
    if ($auth !== []) {
        $query['auth'] = count($auth) === 1 ? $auth[0] : ['user' => $auth[0], 'pass' => $auth[1]];
    }
    $path = "$host:$port?" . http_build_query($query, '', '&', PHP_QUERY_RFC3986);
    echo "session.save_handler = redis\nsession.save_path = \"$path\"\n";
    if (getenv('REDIS_SSL_CA')) {
        // phpredis 5 takes no authority for sessions alone
        echo 'openssl.cafile = ', getenv('OPENEMR_RUN'), "/ca.pem\n";
    }
    echo "redis.session.locking_enabled = 1\nredis.session.lock_retries = 100\nredis.session.lock_wait_time = 50000\n";
}

function check(): int
{
    $wanted = sessions_in_files() ? 'files' : 'redis';
    if (ini_get('session.save_handler') !== $wanted) {
        echo 'PHP would keep them in ', ini_get('session.save_handler');
        return 78;
    }
    try {
        if ($wanted === 'redis') {
            $redis = redis_connection();
            if (!$redis->set(getenv('REDIS_PREFIX') . 'start', '1', ['EX' => 60])) {
                throw new RedisException((string) $redis->getLastError());
            }
        }
    } catch (Throwable $error) {
        echo rtrim($error->getMessage(), '.');
        $lasts = preg_match('/^(WRONGPASS|NOAUTH|NOPERM|ERR)|certificate/', $error->getMessage());
        return $lasts || !$error instanceof RedisException ? 78 : 75;
    }
    // PHP's own message has the password in it
    if (!@session_start() || !session_destroy()) {
        echo 'PHP cannot begin one, though Redis answers';
        return 78;
    }
    return 0;
}

if ($argv[1] === 'ini') {
    ini();
} else {
    exit(check());
}
