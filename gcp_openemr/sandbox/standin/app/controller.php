<?php

/**
 * Patients' documents: ?document&list, ?document&retrieve&document_id=N, ?document&upload (POST), each with patient_id.
 * The files lie encrypted on the share; opening one takes the key there and the key in the database that unlocks it.
 */

require_once __DIR__ . '/interface/globals.php';

use OpenEMR\Common\Crypto\CryptoGen;

$patient = (int) ($_GET['patient_id'] ?? 0);
match (true) {
    !isset($_GET['document']) => failure(404, 'There is only ?document here.'),
    isset($_GET['retrieve']) => retrieveDocument($patient, (int) ($_GET['document_id'] ?? 0)),
    isset($_GET['upload']) && $_SERVER['REQUEST_METHOD'] === 'POST' => uploadDocument($patient),
    default => listDocuments($patient),
};

function failure(int $status, string $sentence): void
{
    http_response_code($status);
    page('Documents', '<p role="alert">' . text($sentence) . '</p>');
}

function listDocuments(int $patient): void
{
    $items = '';
    $documents = sqlRows('SELECT `id`, `name`, `size` FROM `documents` WHERE `foreign_id` = ? ORDER BY `id`', [$patient]);
    foreach ($documents as $document) {
        $link = "/controller.php?document&amp;retrieve&amp;patient_id=$patient&amp;document_id={$document['id']}";
        $items .= "<li><a href=\"$link\">" . text($document['name']) . "</a> ({$document['size']} bytes)</li>";
    }
    page('Documents', <<<HTML
        <ul id="documents">$items</ul>
        <form method="post" enctype="multipart/form-data"
              action="/controller.php?document&amp;upload&amp;patient_id=$patient">
          <label>New document <input type="file" name="file[]" required></label>
          <button type="submit">Upload</button>
        </form>
        HTML);
}

function retrieveDocument(int $patient, int $id): void
{
    $document = sqlQuery('SELECT * FROM `documents` WHERE `id` = ? AND `foreign_id` = ?', [$id, $patient]);
    if ($document === null) {
        failure(404, 'This patient has no such document.');
        return;
    }
    $content = (new CryptoGen())->decryptStandard(file_get_contents(storedAt($document['url'])));
    if ($content === false || hash('sha3-512', $content) !== $document['hash']) {
        failure(500, 'The document cannot be decrypted with the keys of this clinic.');
        return;
    }
    header('Content-Type: ' . $document['mimetype']);
    header('Content-Length: ' . strlen($content));
    header('Content-Disposition: attachment; filename*=UTF-8\'\'' . rawurlencode($document['name']));
    echo $content;
}

function uploadDocument(int $patient): void
{
    $file = $_FILES['file'] ?? null;
    if ($file === null || $file['error'][0] !== UPLOAD_ERR_OK) {
        failure(413, 'The file did not arrive; it may be at most ' . ini_get('upload_max_filesize') . '.');
        return;
    }
    $content = file_get_contents($file['tmp_name'][0]);
    $directory = $GLOBALS['OE_SITE_DIR'] . "/documents/$patient";
    if (!is_dir($directory)) {
        mkdir($directory, 0750);
    }
    $path = "$directory/" . bin2hex(random_bytes(16));
    file_put_contents($path, (new CryptoGen())->encryptStandard($content));
    chmod($path, 0640);
    $id = sqlInsert(
        'INSERT INTO `documents` (`type`, `size`, `date`, `url`, `mimetype`, `foreign_id`, `name`, `hash`, `encrypted`) '
        . "VALUES ('file_url', ?, NOW(), ?, 'application/octet-stream', ?, ?, ?, 1)",
        [strlen($content), "file://$path", $patient, $file['name'][0], hash('sha3-512', $content)]
    );
    header("Location: /controller.php?document&list&patient_id=$patient&document_id=$id", true, 303);
}

/** The file of a document's url on this site, wherever the clinic lay when the url was written. */
function storedAt(string $url): string
{
    [, $below] = explode('/documents/', $url, 2);
    return $GLOBALS['OE_SITE_DIR'] . '/documents/' . str_replace('..', '', $below);
}
