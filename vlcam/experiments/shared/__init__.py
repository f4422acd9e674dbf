"""What several experiments share: classes, words, controls, maps and tallies."""
