<?php

// Not configured yet: nfs-init writes this file on the clinic's share.
$config = 0;
