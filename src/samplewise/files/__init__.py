"""Writing to disk: atomic files, checkpoints, Parquet columns."""
