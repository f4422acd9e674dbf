"""Sentences about the named channels behind a target."""
