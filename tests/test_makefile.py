"""The two commands of the README, on a machine that lacks something."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def _make(tmp_path: Path, script: str, target: str) -> subprocess.CompletedProcess[str]:
    """`make target` in a folder with nothing but the Makefile, with a Python that is a stand-in."""
    python = tmp_path / "python3"
    python.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    python.chmod(0o755)
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    return subprocess.run(
        ["make", target, f"PYTHON={python}"],
        cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )  # fmt: skip


@pytest.mark.parametrize("target", ["demo", "test"])
def test_t14_a_python_without_venv_is_reported_in_one_line(tmp_path: Path, target: str) -> None:
    done = _make(tmp_path, 'case "$2" in *ensurepip*) exit 1;; esac; exit 0', target)
    assert done.returncode != 0
    problems = [line for line in done.stdout.splitlines() if line.startswith("error:")]
    assert problems == ["error: Python lacks its venv module; on Debian: apt-get install python3-venv"]
    assert not (tmp_path / ".venv").exists()


def test_t14_a_python_that_is_too_old_is_reported_in_one_line(tmp_path: Path) -> None:
    done = _make(tmp_path, "exit 1", "demo")
    assert done.returncode != 0
    assert [line for line in done.stdout.splitlines() if line.startswith("error:")] == [
        "error: Python 3.11 or newer is needed; give one with: make PYTHON=python3.12 …"
    ]


def test_every_path_in_the_lists_of_make_test_quick_exists() -> None:
    text = (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
    lists = re.findall(r"^_(?:SLOW|QUICK) = \((.*?)^\)", text, re.MULTILINE | re.DOTALL)
    paths = [path for each in lists for path in re.findall(r'"(.*?)"', each)]
    assert len(lists) == 2
    assert [path for path in paths if not (ROOT / "tests" / path).exists()] == []
