<?php

// Prints the hash that OpenEMR would keep for the password on stdin.
echo password_hash(stream_get_contents(STDIN), PASSWORD_DEFAULT);
