"""Words that mean the same, and wider words."""

__all__: list[str] = []
