"""Training with several processes: collectives, and the share of each rank."""
