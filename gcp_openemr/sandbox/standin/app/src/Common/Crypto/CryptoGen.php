<?php

namespace OpenEMR\Common\Crypto;

use RuntimeException;

/**
 * Encryption in OpenEMR's shape: AES-256-CBC with HMAC-SHA384, two keys (a encrypts, b signs) in the database's table
 * `keys`, two more on the share in documents/logs_and_misc/methods, and those locked with the database's.
 * A value is "007" and base64 of HMAC (48 bytes), IV (16 bytes) and ciphertext. With a password both keys come from it.
 */
class CryptoGen
{
    private const VERSION = '007';
    private const KEY = 'seven';

    public function encryptStandard(?string $value, ?string $customPassword = null, string $keySource = 'drive'): string
    {
        $iv = random_bytes(16);
        $secret = $this->collectKey('a', $keySource, $customPassword);
        $locked = openssl_encrypt((string) $value, 'aes-256-cbc', $secret, OPENSSL_RAW_DATA, $iv);
        $hmac = hash_hmac('sha384', $iv . $locked, $this->collectKey('b', $keySource, $customPassword), true);
        return self::VERSION . base64_encode($hmac . $iv . $locked);
    }

    /** The plain value, or false where the keys do not fit or the value was changed. */
    public function decryptStandard(
        ?string $value,
        ?string $customPassword = null,
        string $keySource = 'drive'
    ): string|false {
        $raw = base64_decode(substr((string) $value, 3), true);
        if (!$this->cryptCheckStandard($value) || $raw === false) {
            return false;
        }
        $hmac = hash_hmac('sha384', substr($raw, 48), $this->collectKey('b', $keySource, $customPassword), true);
        if (!hash_equals($hmac, substr($raw, 0, 48))) {
            return false;
        }
        $secret = $this->collectKey('a', $keySource, $customPassword);
        return openssl_decrypt(substr($raw, 64), 'aes-256-cbc', $secret, OPENSSL_RAW_DATA, substr($raw, 48, 16));
    }

    public function cryptCheckStandard(?string $value): bool
    {
        return str_starts_with((string) $value, self::VERSION);
    }

    /** A key of 32 bytes; where there is none a new one is made, which is why a restore must bring both kinds. */
    private function collectKey(string $part, string $source, ?string $password): string
    {
        if ($password !== null && $password !== '') {
            return hash_hkdf('sha256', $password, 32, $part);
        }
        return $source === 'database' ? $this->databaseKey(self::KEY . $part) : $this->driveKey(self::KEY . $part);
    }

    private function databaseKey(string $name): string
    {
        $row = sqlQuery('SELECT `value` FROM `keys` WHERE `name` = ?', [$name]);
        if ($row === null) {
            sqlStatement('INSERT INTO `keys` (`name`, `value`) VALUES (?, ?)', [$name, base64_encode(random_bytes(32))]);
            $row = sqlQuery('SELECT `value` FROM `keys` WHERE `name` = ?', [$name]);
        }
        return base64_decode($row['value'], true);
    }

    private function driveKey(string $name): string
    {
        $file = $GLOBALS['OE_SITE_DIR'] . '/documents/logs_and_misc/methods/' . $name;
        if (!is_file($file)) {
            file_put_contents($file, $this->encryptStandard(random_bytes(32), null, 'database'));
            chmod($file, 0600);
        }
        $key = $this->decryptStandard(file_get_contents($file), null, 'database');
        if ($key === false) {
            throw new RuntimeException('The key on the share does not fit the key in the database.');
        }
        return $key;
    }
}
