"""Daily TMDB ingest and directory transfers, over one uploader."""

__version__ = "0.1.0"
