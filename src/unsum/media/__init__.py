"""Files in and out: the only importer of av and soundfile."""
