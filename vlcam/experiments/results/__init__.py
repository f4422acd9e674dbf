"""What an experiment returns, and how it is written and drawn."""

__all__: list[str] = []
