"""Run folders, studies and score tables on disk as the facts of a report."""
