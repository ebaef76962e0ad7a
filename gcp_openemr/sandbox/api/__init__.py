"""Google's REST APIs on this machine: one store, one engine for operations, one table of rules."""
