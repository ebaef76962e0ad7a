<?php

// Settings of the site that OpenEMR keeps in a file; the stand-in has none.
