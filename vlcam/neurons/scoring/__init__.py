"""How well a concept matches a channel, and when a match is a name."""
