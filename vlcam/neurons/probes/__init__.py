"""Labelled pictures that channels are named with."""
