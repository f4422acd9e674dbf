"""Sentences about the named channels behind a target."""

__all__: list[str] = []
