"""Training with several processes: collectives, and the shard of each rank."""
