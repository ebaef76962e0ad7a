"""One recipe of steps for each verb of the command line."""
