"""Tables of scores, and coresets that are chosen by them."""
