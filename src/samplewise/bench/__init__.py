"""Training runs on real data, for the commands of `samplewise` and the benchmark tables."""
