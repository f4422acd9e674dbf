"""A page about all channels of a layer."""

__all__: list[str] = []
