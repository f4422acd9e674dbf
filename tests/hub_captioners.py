"""Tiny captioners and question answerers of transformers: those without a chat template."""

from tests.hub_models import Builder

BUILDERS: dict[str, Builder] = {}
