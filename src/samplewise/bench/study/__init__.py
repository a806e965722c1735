"""Studies: methods against ordinary training of the same cost, with seeds, as runs that are kept."""
