"""Mixes that are nothing but their tracks, rounded: what the intervals of their samples tell of the settings."""
