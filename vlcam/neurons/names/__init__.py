"""The names of a layer's channels: records and files."""

__all__: list[str] = []
