"""The whole catalogue of TMDB, or any part of it, in windows that TMDB hands out whole.

TMDB hands out 500 pages of one query and no more. A plan cuts a range of days into windows of at
most so many pages, each window is fetched and lands by itself, and a summary proves what landed:
``spans`` splits, ``plan`` asks TMDB and keeps the windows, ``work`` lands them, ``summary`` counts.
"""
