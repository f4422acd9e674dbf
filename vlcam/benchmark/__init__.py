"""How well the bundled world is explained: maps, texts and names measured against exact ground truth."""

__all__: list[str] = []
