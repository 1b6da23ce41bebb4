"""The local side: a directory as an ordered stream, what it can hold, files that land whole."""
