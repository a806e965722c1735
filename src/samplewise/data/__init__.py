"""The user's data: data sets, ids, batches and what a forward returns."""
