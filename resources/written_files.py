"""Files that people write by hand, YAML or JSON, read as one object with errors that say where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lake.errors import UserError

# Nobody writes more by hand; YAML of this size takes about a second.
_MAX_BYTES = 1 << 20


def read_object(path: Path) -> dict[str, Any]:
    """The object in a YAML or JSON file; raises `UserError` for one that is missing, too large or not an object."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UserError(f"{path} is larger than 1 MiB; this is for files that people write.")
        content = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text.") from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" line {mark.line + 1}" if mark else ""
        raise UserError(
            f"{path}{place} is not YAML: {getattr(error, 'problem', None) or 'nested too deeply'}."
        ) from None
    if not isinstance(content, dict):
        raise UserError(f"{path} holds {type(content).__name__}, not an object with keys.")
    return content
