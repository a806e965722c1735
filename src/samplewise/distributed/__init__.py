"""Several processes: what they exchange and which part each one trains on."""
