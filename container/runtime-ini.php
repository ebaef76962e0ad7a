<?php

/**
 * Prints the ini settings that only the running instance knows: sessions in Redis, with the password url-encoded.
 * Reads REDIS_*; without REDIS_SERVER sessions stay in files of this one instance.
 */

declare(strict_types=1);

$server = (string) getenv('REDIS_SERVER');
if ($server === '') {
    echo "session.save_handler = files\nsession.save_path = /tmp\n";
    exit(0);
}
$query = ['prefix' => (getenv('REDIS_PREFIX') ?: '') . 'PHPREDIS_SESSION:', 'timeout' => 5, 'read_timeout' => 5];
$password = (string) getenv('REDIS_PASSWORD');
if ($password !== '') {
    $user = (string) getenv('REDIS_USERNAME');
    $query['auth'] = $user === '' ? $password : ['user' => $user, 'pass' => $password];
}
$port = getenv('REDIS_PORT') ?: '6379';
echo "session.save_handler = redis\n";
echo 'session.save_path = "tcp://', $server, ':', $port, '?', http_build_query($query, '', '&', PHP_QUERY_RFC3986), "\"\n";
echo "redis.session.locking_enabled = 1\nredis.session.lock_retries = 100\nredis.session.lock_wait_time = 50000\n";
