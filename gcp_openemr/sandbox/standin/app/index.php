<?php

declare(strict_types=1);

header('Location: interface/login/login.php?site=default');
