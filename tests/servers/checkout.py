"""A copy of the repository's files, for tests that write beside them."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
PARTS = (
    "gateway", "traefik", "pyproject.toml", "setup.py", "constraints.txt", "README.md", "LICENSE", "apps.json",
    "apps.schema.json", "docker-compose.yml",
)  # fmt: skip


def checkout(folder: Path) -> Path:
    """The parts of the repository in `folder`, which is returned."""
    folder.mkdir(parents=True)
    for name in PARTS:
        source, target = ROOT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return folder
