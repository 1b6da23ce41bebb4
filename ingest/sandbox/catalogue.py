"""The invented catalogue: a fixed set of movies and series, the same on every machine.

Everything is a function of a title's dataset and position, through BLAKE2b, so no version of
Python, no platform and no earlier call can change it. The proportions of empty and null fields
follow what was measured on recorded pages: about 11 % of overviews are empty in pt-BR, a few
percent of images are null, a few dates are "", a few genre lists are empty.
"""

from __future__ import annotations

import struct
from datetime import date, timedelta
from functools import cache
from hashlib import blake2b
from typing import Final, Literal, NamedTuple

from ingest.sandbox.words import (
    ADJECTIVES,
    CLOSINGS,
    GOALS,
    HEROES,
    NOUNS,
    PLACES,
    SYLLABLES,
    TWISTS,
)

Dataset = Literal["movie", "tv"]
Language = Literal["pt", "en"]

SIZES: Final[dict[Dataset, int]] = {"movie": 6000, "tv": 4000}
FIRST_DAY: Final = date(1950, 1, 1)
LAST_DAY: Final = date(2026, 12, 31)

# Ids and English names as published by /3/genre/movie/list and /3/genre/tv/list.
GENRES: Final[dict[Dataset, dict[int, str]]] = {
    "movie": {
        28: "Action",
        12: "Adventure",
        16: "Animation",
        35: "Comedy",
        80: "Crime",
        99: "Documentary",
        18: "Drama",
        10751: "Family",
        14: "Fantasy",
        36: "History",
        27: "Horror",
        10402: "Music",
        9648: "Mystery",
        10749: "Romance",
        878: "Science Fiction",
        10770: "TV Movie",
        53: "Thriller",
        10752: "War",
        37: "Western",
    },
    "tv": {
        10759: "Action & Adventure",
        16: "Animation",
        35: "Comedy",
        80: "Crime",
        99: "Documentary",
        18: "Drama",
        10751: "Family",
        10762: "Kids",
        9648: "Mystery",
        10763: "News",
        10764: "Reality",
        10765: "Sci-Fi & Fantasy",
        10766: "Soap",
        10767: "Talk",
        10768: "War & Politics",
        37: "Western",
    },
}

# Repeats are weights.
_LANGUAGES: Final = ("en", "en", "en", "en", "pt", "pt", "ja", "ja", "es", "fr", "ko", "en")
_COUNTRIES: Final = {
    "en": ("US", "GB", "CA"),
    "pt": ("BR", "BR", "PT"),
    "ja": ("JP",),
    "es": ("ES", "MX", "AR"),
    "fr": ("FR", "BE"),
    "ko": ("KR",),
}
# So many titles are both Animation and Comedy that even old ones fill a day's run many times.
_COMEDIES_PERCENT: Final[dict[Dataset, int]] = {"movie": 42, "tv": 58}
_UNTRANSLATED_PERCENT: Final[dict[Language, int]] = {"pt": 13, "en": 2}
_UNIT: Final = 65536  # one drawn number is 16 bits wide
_SPAN_DAYS: Final = (LAST_DAY - FIRST_DAY).days
_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TITLES: Final = len(NOUNS) * len(ADJECTIVES) * len(PLACES)
_STRIDE: Final = 7919  # coprime with _TITLES: neighbours in the catalogue get unlike titles


class Entry(NamedTuple):
    """What filtering and sorting need to know of one title; texts are made when asked for."""

    dataset: Dataset
    position: int
    id: int
    date: str
    genre_ids: tuple[int, ...]
    adult: bool
    softcore: bool
    video: bool
    popularity: float
    vote_average: float
    vote_count: int
    original_language: str
    origin_country: tuple[str, ...]


def draw(dataset: Dataset, position: int, topic: str) -> tuple[int, ...]:
    """Sixteen numbers in [0, 65536) that depend on the arguments only."""
    seed = f"{dataset}/{position}/{topic}".encode()
    return struct.unpack("<16H", blake2b(seed, digest_size=32).digest())


def _genres(dataset: Dataset, pick: int, first: int, second: int) -> tuple[int, ...]:
    """At most three genres, without repeats; none for about one title in eighty."""
    ids = tuple(GENRES[dataset])
    one, two = ids[first % len(ids)], ids[second % len(ids)]
    chosen: tuple[int, ...] = (one, two) if second & 1 else (one,)
    if pick % 100 < _COMEDIES_PERCENT[dataset]:
        chosen = (16, 35, one) if first & 1 else (35, 16)
    if pick % 83 == 0:
        chosen = ()
    return tuple(dict.fromkeys(chosen))


def _day(number: int, undated: int) -> str:
    """Pick a date, later years being likelier, or "" for about one title in a hundred."""
    if undated % 97 == 0:
        return ""
    share = number / _UNIT
    return (LAST_DAY - timedelta(days=int(_SPAN_DAYS * share * share))).isoformat()


def make_entry(dataset: Dataset, position: int) -> Entry:
    """Make the title at a position."""
    numbers = draw(dataset, position, "entry")
    language = _LANGUAGES[numbers[7] % len(_LANGUAGES)]
    countries = _COUNTRIES[language]
    fame = numbers[8] / _UNIT
    votes = numbers[9] / _UNIT
    vote_count = int(24000 * votes * votes * votes * votes)
    return Entry(
        dataset=dataset,
        position=position,
        id=1009 + position * (37 if dataset == "movie" else 29),
        date=_day(numbers[0], numbers[1]),
        genre_ids=_genres(dataset, numbers[2], numbers[3], numbers[4]),
        adult=numbers[5] % 50 == 0,
        softcore=numbers[6] % 60 == 0,
        video=dataset == "movie" and numbers[12] % 80 == 0,
        popularity=round(0.6 + 700 * fame * fame * fame * fame * fame * fame, 4),
        vote_average=round(2 + numbers[10] % 7400 / 1000, 3) if vote_count else 0.0,
        vote_count=vote_count,
        original_language=language,
        origin_country=(countries[numbers[11] % len(countries)],) if numbers[13] % 90 else (),
    )


@cache
def entries(dataset: Dataset) -> tuple[Entry, ...]:
    """Every title of a dataset, in order of id."""
    return tuple(make_entry(dataset, position) for position in range(SIZES[dataset]))


@cache
def by_id(dataset: Dataset) -> dict[int, Entry]:
    """Index the titles of a dataset by id. Shared: not to be changed."""
    return {entry.id: entry for entry in entries(dataset)}


def translated_title(entry: Entry, language: Language) -> str:
    """Make the title in one of the two languages; no two titles of the catalogue share one."""
    offset = entry.position + (SIZES["movie"] if entry.dataset == "tv" else 0)
    rest, place = divmod(offset * _STRIDE % _TITLES, len(PLACES))
    noun, adjective = divmod(rest, len(ADJECTIVES))
    pt_noun, gender, en_noun = NOUNS[noun]
    masculine, feminine, english = ADJECTIVES[adjective]
    where, article_of_place = PLACES[place]
    if language == "en":
        name, link = f"The {english} {en_noun}", "of"
    else:
        article, agreed = ("O", masculine) if gender == "m" else ("A", feminine)
        name, link = f"{article} {pt_noun} {agreed}", f"d{article_of_place or 'e'}"
    return f"{where}: {name}" if entry.position % 3 == 0 else f"{name} {link} {where}"


def original_title(entry: Entry) -> str:
    """Make the title in the original language."""
    if entry.original_language == "pt":
        return translated_title(entry, "pt")
    if entry.original_language == "en":
        return translated_title(entry, "en")
    syllables = SYLLABLES[entry.original_language]
    numbers = draw(entry.dataset, entry.position, "original")
    words = (numbers[:3], numbers[3:5])
    return " ".join(
        "".join(syllables[n % len(syllables)] for n in word).capitalize() for word in words
    )


def _translated(entry: Entry, language: Language) -> bool:
    """Whether somebody has written this title's texts in a language."""
    if entry.original_language == language:
        return True
    numbers = draw(entry.dataset, entry.position, "translated")
    return numbers[0 if language == "pt" else 1] % 100 >= _UNTRANSLATED_PERCENT[language]


def title(entry: Entry, language: Language | None) -> str:
    """Give the title in a language; the original one where no translation exists, as TMDB does."""
    if language is None or not _translated(entry, language):
        return original_title(entry)
    return translated_title(entry, language)


def overview(entry: Entry, language: Language | None) -> str:
    """Give the overview in a language; "" where no translation exists, as TMDB does."""
    if language is None or not _translated(entry, language):
        return ""
    place, hero, goal, twist, first, step, *_ = draw(entry.dataset, entry.position, "overview")
    column = 0 if language == "pt" else 1
    where, article = PLACES[place % len(PLACES)]
    within = "In" if language == "en" else f"N{article}" if article else "Em"
    until = "until" if language == "en" else "até que"
    # The second closing is never the first one again.
    second = first + 1 + step % (len(CLOSINGS) - 1)
    return (
        f"{within} {where}, {HEROES[hero % len(HEROES)][column]} "
        f"{GOALS[goal % len(GOALS)][column]} "
        f"{until} {TWISTS[twist % len(TWISTS)][column]}. "
        f"{CLOSINGS[first % len(CLOSINGS)][column]} {CLOSINGS[second % len(CLOSINGS)][column]}"
    )


def image_path(entry: Entry, topic: str, *, null_in: int) -> str | None:
    """Make a path shaped like TMDB's (27 characters), or None once in ``null_in`` titles."""
    numbers = draw(entry.dataset, entry.position, topic)
    if numbers[0] % null_in == 0:
        return None
    return "/" + "".join(_BASE62[n % 62] + _BASE62[n // 62 % 62] for n in numbers)[:27] + ".jpg"


def record(entry: Entry, language: Language | None) -> dict[str, object]:
    """One row of /discover, with the fifteen keys that each dataset has since 2026."""
    movie = entry.dataset == "movie"
    name = "title" if movie else "name"
    row: dict[str, object] = {
        "adult": entry.adult,
        "backdrop_path": image_path(entry, "backdrop", null_in=12),
        "genre_ids": list(entry.genre_ids),
        "id": entry.id,
        "original_language": entry.original_language,
        f"original_{name}": original_title(entry),
        "overview": overview(entry, language),
        "popularity": entry.popularity,
        "poster_path": image_path(entry, "poster", null_in=30),
        "release_date" if movie else "first_air_date": entry.date,
        "softcore": entry.softcore,
        name: title(entry, language),
        "vote_average": entry.vote_average,
        "vote_count": entry.vote_count,
    }
    if movie:
        row["video"] = entry.video
    else:
        row["origin_country"] = list(entry.origin_country)
    return row
