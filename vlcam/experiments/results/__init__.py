"""What an experiment gives, and how it is written and drawn."""

__all__: list[str] = []
