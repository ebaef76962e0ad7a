"""Cloud SQL Admin v1 (and v1beta4). The server itself is the runtime's; what Google computes is computed here."""
