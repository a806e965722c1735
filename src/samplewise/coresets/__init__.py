"""What is kept of scores: tables, subsets, the choice of a coreset."""
