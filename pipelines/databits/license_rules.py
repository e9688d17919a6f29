"""Which licence is stricter than which, and which cannot be met at once: the rule table, as data.

What belongs here: the facts. Reading SPDX expressions and applying the rules is `licenses.py`. The rules speak of
passing on one work made from several, as training data sets and prompts are. They follow the published compatibility
statements of Creative Commons, the FSF and the Open Data Commons; they are a warning light and no legal advice.
"""

from __future__ import annotations

from typing import Final, Literal

from lake.identity import json_digest

Class = Literal[
    "public domain", "permissive", "weak copyleft", "share-alike", "network copyleft",
    "non-commercial", "no derivatives", "own terms",
]  # fmt: skip
# From the freest to the strictest: what may be done with the whole is what the strictest part allows.
CLASSES: Final[tuple[Class, ...]] = (
    "public domain", "permissive", "weak copyleft", "share-alike", "network copyleft",
    "non-commercial", "no derivatives", "own terms",
)  # fmt: skip

_PERMISSIVE = (
    r"MIT.*|Apache-.*|BSD-.*|ISC|Zlib|BSL-1\.0|Python-.*|PSF-.*|PostgreSQL|NCSA|X11|Unicode-.*|AFL-.*|Artistic-2\.0"
    r"|CC-BY-\d.*|ODC-By-.*|CDLA-Permissive-.*|C-UDA-.*|etalab-.*|OGL-.*|DL-DE-BY-.*|MS-PL|MulanPSL-.*|Libpng|curl"
    r"|CECILL-B.*|BlueOak-.*|UPL-.*"
)
# Patterns of SPDX ids, the first that matches decides.
CLASS_PATTERNS: Final[tuple[tuple[str, Class], ...]] = (
    (r"LicenseRef-.*", "own terms"),
    (r"CC-BY(-NC)?-ND-.*", "no derivatives"),
    (r"CC-BY-NC(-SA)?-.*|PolyForm-Noncommercial-.*|BUSL-.*|Elastic-.*", "non-commercial"),
    (r"AGPL-.*|SSPL-.*|OSL-.*|EUPL-.*|CPAL-.*", "network copyleft"),
    (r"GPL-.* WITH (Classpath-exception-.*|GCC-exception-.*|Linux-syscall-note)", "weak copyleft"),
    (r"GPL-.*|CC-BY-SA-.*|ODbL-.*|CDLA-Sharing-.*|GFDL-.*|CECILL-2.*", "share-alike"),
    (r"LGPL-.*|MPL-.*|EPL-.*|CDDL-.*|MS-RL|OFL-.*|CPL-.*|CECILL-C.*", "weak copyleft"),
    (r"CC0-.*|PDDL-.*|Unlicense|0BSD|WTFPL|CC-PDDC|MIT-0", "public domain"),
    (_PERMISSIVE, "permissive"),
)

_SHARE_ALIKE = r"GPL-.*|AGPL-.*|CC-BY-SA-.*|ODbL-.*|CDLA-Sharing-.*|GFDL-.*"
# Two licences that one work cannot be under at once, as patterns of SPDX ids, with the reason. Order does not matter.
CONFLICTS: Final[tuple[tuple[str, str, str], ...]] = (
    (r"GPL-2\.0-only", r"Apache-.*", "the patent terms of Apache are further restrictions to GPL-2.0"),
    (r"GPL-2\.0-only", r"A?GPL-3\.0-.*|LGPL-3\.0-.*", "GPL-2.0-only cannot be combined with version 3"),
    (r"GPL-.*|AGPL-.*", r"EPL-1.*|CDDL-.*|CPL-.*|MS-RL|MS-PL|OSL-.*|SSPL-.*", "both demand that the whole is theirs"),
    (r"GPL-.*|AGPL-.*", r"BSD-4-Clause.*", "its advertising clause is a further restriction to GPL"),
    (_SHARE_ALIKE, r"CC-BY-NC.*", "share-alike forbids to add that use be non-commercial"),
    (r"CC-BY-NC-SA-.*", r"CC-BY-SA-.*|GPL-.*|AGPL-.*|ODbL-.*", "each demands that the whole is under it"),
    (r"CC-BY-SA-[123].*", r"A?GPL-.*", "only CC-BY-SA-4.0 may be passed on under GPL, and that only under version 3"),
    (r"CC-BY-SA-4\.0", r"GPL-2\.0-only|GPL-1.*", "CC-BY-SA-4.0 may be passed on under GPL version 3 alone"),
    (r"CC-BY-SA-.*", r"ODbL-.*|CDLA-Sharing-.*|GFDL-1\.[012].*", "each demands that the whole is under it"),
    (r"ODbL-.*", r"CDLA-Sharing-.*|A?GPL-.*|GFDL-.*", "each demands that the whole is under it"),
    (r"CDLA-Sharing-.*", r"A?GPL-.*|GFDL-.*", "each demands that the whole is under it"),
    (r"GFDL-.*", r"A?GPL-.*", "each demands that the whole is under it"),
)

# What a work may not be passed on under less than, once one of its sources is of this class.
BINDING: Final[frozenset[Class]] = frozenset(
    {"share-alike", "network copyleft", "non-commercial", "no derivatives", "own terms"}
)
RULES_DIGEST: Final = json_digest([CLASSES, CLASS_PATTERNS, CONFLICTS, sorted(BINDING)])
