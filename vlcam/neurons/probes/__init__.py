"""Labelled pictures that channels are named with."""

__all__: list[str] = []
