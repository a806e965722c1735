"""Advice before a run: what each method would cost on the user's own model, data and machine."""
