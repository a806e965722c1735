"""What is written to disk: whole files, checkpoints, Parquet columns, states."""
