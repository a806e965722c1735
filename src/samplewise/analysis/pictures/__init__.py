"""The pictures of the analyses: a file for each."""

__all__: list[str] = []
