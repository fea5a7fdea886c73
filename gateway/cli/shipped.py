"""Files of the repository that are not code: in a checkout beside `gateway`, in a wheel under gateway/shipped."""

from __future__ import annotations

from pathlib import Path

import gateway

PACKAGE = Path(gateway.__file__).resolve().parent
_INSTALLED = PACKAGE / "shipped"


def shipped(name: str) -> Path:
    """The file or folder of this name, such as apps.json or traefik/plugins-local."""
    return (_INSTALLED if _INSTALLED.is_dir() else PACKAGE.parent) / name
