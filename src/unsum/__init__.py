"""unsum takes a mix apart with what you already have."""

__version__ = "0.1.0"
