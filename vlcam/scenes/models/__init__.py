"""The models of the bundled world: networks, training, quality and weights."""

__all__: list[str] = []
