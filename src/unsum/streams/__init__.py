"""The exact algebra of a multi-stream recording."""
