"""The cost of a training: the ledger and FLOP counting."""
