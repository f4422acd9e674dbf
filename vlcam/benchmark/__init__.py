"""How true the bundled world is explained: its maps, texts and names measured against exact ground truth."""

__all__: list[str] = []
