"""Adapters to the frameworks that training runs in; each imports its framework only when it is used."""
