"""Tiny chat models of transformers, with their templates."""

from tests.hub_models import Builder

BUILDERS: dict[str, Builder] = {}
