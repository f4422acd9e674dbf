"""Words that mean the same, and wider words."""
