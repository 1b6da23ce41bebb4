"""The records of /movie/{id} and /tv/{id}, with the keys of TMDB's own description.

The number of seasons exists only here, never in a list.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Final

from ingest.sandbox.catalogue import (
    GENRES,
    LAST_DAY,
    Entry,
    Language,
    draw,
    image_path,
    overview,
    record,
    title,
)
from ingest.sandbox.words import FIRST_NAMES, PLACES, SURNAMES, TAGLINES

_SPOKEN: Final = {
    "en": ("English", "English"),
    "pt": ("Portuguese", "Português"),
    "ja": ("Japanese", "日本語"),
    "es": ("Spanish", "Español"),
    "fr": ("French", "Français"),
    "ko": ("Korean", "한국어/조선말"),
}
_COUNTRY_NAMES: Final = {
    "US": "United States of America",
    "GB": "United Kingdom",
    "CA": "Canada",
    "BR": "Brazil",
    "PT": "Portugal",
    "JP": "Japan",
    "ES": "Spain",
    "MX": "Mexico",
    "AR": "Argentina",
    "FR": "France",
    "BE": "Belgium",
    "KR": "South Korea",
}


def movie_details(entry: Entry, language: Language | None) -> dict[str, object]:
    """One movie. Amounts are in US dollars, the running time in minutes."""
    numbers = draw("movie", entry.position, "details")
    budget = numbers[0] * 1500 if numbers[1] % 3 else 0
    return _shared(entry, language) | {
        "belongs_to_collection": _collection(entry) if numbers[2] % 10 == 0 else None,
        "budget": budget,
        "imdb_id": f"tt{90_000_000 + entry.id}" if numbers[3] % 20 else None,
        "revenue": budget * (numbers[4] % 500) // 100,
        "runtime": 60 + numbers[5] % 110,
        "status": "Released" if entry.date and entry.date < "2026" else "Post Production",
    }


def series_details(entry: Entry, language: Language | None) -> dict[str, object]:
    """One series; its seasons, their episodes and the two totals agree."""
    seasons = _seasons(entry, language)
    episodes = [numbers % 14 + 6 for numbers in draw("tv", entry.position, "episodes")]
    last = _last_episode(entry, len(seasons), episodes[len(seasons) - 1])
    ended = draw("tv", entry.position, "details")[0] % 3 > 0
    return _shared(entry, language) | {
        "created_by": [_person(entry)],
        "episode_run_time": [last["runtime"]],
        "in_production": not ended,
        "languages": [entry.original_language],
        "last_air_date": last["air_date"],
        "last_episode_to_air": last,
        "networks": [_company(entry, "network")],
        "next_episode_to_air": None,
        "number_of_episodes": sum(episodes[: len(seasons)]),
        "number_of_seasons": len(seasons),
        "seasons": [
            season | {"episode_count": count}
            for season, count in zip(seasons, episodes, strict=False)
        ],
        "status": "Ended" if ended else "Returning Series",
        "type": "Scripted",
    }


def _shared(entry: Entry, language: Language | None) -> dict[str, object]:
    """Give what both kinds have: the list record, ``genre_ids`` excepted, and more."""
    row = record(entry, language)
    del row["genre_ids"]
    column = 0 if language == "pt" else 1
    tagline = TAGLINES[draw(entry.dataset, entry.position, "tagline")[0] % len(TAGLINES)][column]
    english, native = _SPOKEN[entry.original_language]
    names = GENRES[entry.dataset]
    return row | {
        "genres": [{"id": number, "name": names[number]} for number in entry.genre_ids],
        "homepage": "",
        "origin_country": list(entry.origin_country),
        "production_companies": [_company(entry, "company")],
        "production_countries": [
            {"iso_3166_1": code, "name": _COUNTRY_NAMES[code]} for code in entry.origin_country
        ],
        "spoken_languages": [
            {"english_name": english, "iso_639_1": entry.original_language, "name": native}
        ],
        "tagline": tagline if language else "",
    }


def _collection(entry: Entry) -> dict[str, object]:
    return {
        "id": 700_000 + entry.position,
        "name": f"{title(entry, 'en')} Collection",
        "poster_path": image_path(entry, "collection", null_in=5),
        "backdrop_path": image_path(entry, "collection backdrop", null_in=5),
    }


def _company(entry: Entry, topic: str) -> dict[str, object]:
    number = draw(entry.dataset, entry.position, topic)[0] % len(PLACES)
    return {
        "id": 40_000 + number,
        "logo_path": None,
        "name": f"{PLACES[number][0]} {'TV' if topic == 'network' else 'Filmes'}",
        "origin_country": next(iter(entry.origin_country), ""),
    }


def _person(entry: Entry) -> dict[str, object]:
    first, last, *_ = draw(entry.dataset, entry.position, "creator")
    name = f"{FIRST_NAMES[first % len(FIRST_NAMES)]} {SURNAMES[last % len(SURNAMES)]}"
    return {
        "id": 900_000 + first,
        "credit_id": f"{first:08x}{last:016x}",
        "name": name,
        "original_name": name,
        "gender": first % 3,
        "profile_path": None,
    }


def _season_count(entry: Entry) -> int:
    return 1 + draw("tv", entry.position, "seasons")[0] % 8


def _season_day(entry: Entry, number: int) -> str | None:
    """Start a season a year from the first one on, none of them after the catalogue ends."""
    if not entry.date:
        return None
    return min(
        date.fromisoformat(entry.date) + timedelta(days=365 * (number - 1)), LAST_DAY
    ).isoformat()


def _seasons(entry: Entry, language: Language | None) -> list[dict[str, object]]:
    name = "Temporada" if language == "pt" else "Season"
    return [
        {
            "air_date": _season_day(entry, number),
            "id": entry.id * 100 + number,
            "name": f"{name} {number}",
            "overview": overview(entry, language) if number == 1 else "",
            "poster_path": image_path(entry, f"season {number}", null_in=6),
            "season_number": number,
            "vote_average": entry.vote_average,
        }
        for number in range(1, _season_count(entry) + 1)
    ]


def _last_episode(entry: Entry, season: int, number: int) -> dict[str, object]:
    return {
        "id": entry.id * 10_000 + season * 100 + number,
        "name": "",
        "overview": "",
        "vote_average": entry.vote_average,
        "vote_count": entry.vote_count // 100,
        "air_date": _season_day(entry, season),
        "episode_number": number,
        "episode_type": "finale",
        "production_code": "",
        "runtime": 20 + entry.position % 40,
        "season_number": season,
        "show_id": entry.id,
        "still_path": None,
    }
