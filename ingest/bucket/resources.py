"""How Qarnot presents a bucket to a task: carried as data, for whoever runs tasks on a bucket."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class BucketPrefixFiltering:
    """A task sees only the objects whose keys begin with ``prefix``."""

    prefix: str


@dataclass(frozen=True, slots=True)
class PrefixResourcesTransformation:
    """A task sees the objects without ``prefix`` in their names."""

    prefix: str


@dataclass(frozen=True, slots=True)
class Resources:
    """All of it; ``cache_ttl`` is in seconds."""

    filtering: BucketPrefixFiltering | None = None
    transformation: PrefixResourcesTransformation | None = None
    cache_ttl: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the fields as Qarnot names them."""
        strips = self.transformation
        return {
            "filtering": _named("prefixFiltering", self.filtering),
            "resourcesTransformation": _named("stripPrefix", strips),
            "cacheTTLSec": self.cache_ttl,
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Return what ``to_json`` wrote; kinds of filters that are not known are left out."""
        filtering = (fields.get("filtering") or {}).get("prefixFiltering")
        strips = (fields.get("resourcesTransformation") or {}).get("stripPrefix")
        return cls(
            BucketPrefixFiltering(filtering["prefix"]) if filtering else None,
            PrefixResourcesTransformation(strips["prefix"]) if strips else None,
            fields.get("cacheTTLSec"),
        )


def _named(
    kind: str, rule: BucketPrefixFiltering | PrefixResourcesTransformation | None
) -> dict[str, dict[str, str]]:
    return {kind: {"prefix": rule.prefix}} if rule else {}
