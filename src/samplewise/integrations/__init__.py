"""Adapters for training frameworks. Each one imports its framework only when it is used."""
