"""Settings that the requests of a run share: which are the same for all, and which vary.

What belongs here: gathering them request by request in bounded memory. Which fields are settings is each format's
module; one setting a row is `pipelines.runs.parameters`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from lake.identity import text_digest
from pipelines.runs.records import JsonObject, canonical_json

# So many different settings are remembered; beyond that a run is not described by them.
_MOST_KINDS = 1_000
_MOST_NAMES = 100


@dataclass(kw_only=True)
class SharedSettings:
    """Settings of a run that is being gathered; names in `no_sampling` do not bear on what is generated."""

    no_sampling: Collection[str] = ()
    _first: JsonObject | None = None
    _varying: set[str] = field(default_factory=set)
    _digests: set[str] = field(default_factory=set)

    def add(self, settings: JsonObject) -> None:
        """Take up the settings of one request."""
        sampling = {key: value for key, value in settings.items() if key not in self.no_sampling}
        if sampling and len(self._digests) < _MOST_KINDS:
            self._digests.add(text_digest(canonical_json(sampling)))
        if self._first is None:
            self._first = settings
        elif settings != self._first:
            names = (settings | self._first).keys()
            differing = sorted(name for name in names if settings.get(name) != self._first.get(name))
            self._varying |= set(differing[:_MOST_NAMES])

    @property
    def shared(self) -> JsonObject:
        """What all requests have in common, and the names of what they do not as `varying`."""
        same = {key: value for key, value in (self._first or {}).items() if key not in self._varying}
        return same | ({"varying": sorted(self._varying)} if self._varying else {})

    @property
    def sampling_digest(self) -> str | None:
        """One digest for all requests, whatever their order; None without any, or with too many kinds."""
        digests = sorted(self._digests)
        if not 0 < len(digests) < _MOST_KINDS:
            return None
        return digests[0] if len(digests) == 1 else text_digest("\n".join(digests))
