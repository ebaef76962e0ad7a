<?php

declare(strict_types=1);

spl_autoload_register(function (string $class): void {
    $file = dirname(__DIR__) . '/src/' . str_replace(['OpenEMR\\', '\\'], ['', '/'], $class) . '.php';
    if (is_file($file)) {
        require $file;
    }
});
