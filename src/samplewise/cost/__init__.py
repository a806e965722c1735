"""What a training costs: the ledger and the count of FLOPs."""
