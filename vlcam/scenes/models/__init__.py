"""The models of the bundled world: networks, training, quality and weights."""
