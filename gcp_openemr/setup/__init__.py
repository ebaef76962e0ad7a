"""What the machine needs before anything runs: Debian packages, MySQL, Terraform. Standard library only."""
