"""From fitted filters to what an engineer reads; no audio, no files."""
