"""Plain values of configurations: reading YAML, changing single fields, reporting faults."""
