"""A page about all channels of a layer."""
