"""Training runs on real data: what `samplewise train` and the benchmark tables are made of."""
