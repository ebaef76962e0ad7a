<?php

/**
 * The frame of a page. It says on every page what this application is and what it is not.
 */

function text(mixed $value): string
{
    return htmlspecialchars((string) $value, ENT_QUOTES | ENT_SUBSTITUTE, 'UTF-8');
}

function page(string $title, string $body): void
{
    header('Content-Type: text/html; charset=utf-8');
    $title = text($title);
    echo <<<HTML
        <!doctype html>
        <html lang="en">
        <head><meta charset="utf-8"><title>$title</title>
        <style>
          body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
          .standin { background: #fff3cd; border: 1px solid #d6b656; padding: .5rem 1rem; }
          label { display: block; margin: .5rem 0; }
        </style></head>
        <body>
        <p class="standin" id="standin">This is a stand-in with OpenEMR's shape, for rehearsals. It is not OpenEMR:
        its sessions, database, keys and files work the same way, but there is nothing here to treat a patient with.</p>
        <h1>$title</h1>
        $body
        </body>
        </html>

        HTML;
}
