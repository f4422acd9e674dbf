"""How well a concept matches a channel, and when a match is a name."""

__all__: list[str] = []
