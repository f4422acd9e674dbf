"""What several experiments share: classes, words, controls, maps and tallies."""

__all__: list[str] = []
