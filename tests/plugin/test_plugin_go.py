"""The plugin's own tests, and Go's formatter and vet on its code."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from plugin_stage import PLUGIN_DIR
from servers.found import require


def run(program: Path, *args: str) -> str:
    done = subprocess.run(
        [program, *args],
        cwd=PLUGIN_DIR,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        # Nothing is downloaded: no third-party code, no other toolchain.
        env={**os.environ, "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_plugins_own_tests_pass() -> None:
    run(require("go"), "test", "./...")


def test_it_is_formatted_and_vetted() -> None:
    go = require("go")
    assert run(go.with_name("gofmt"), "-l", ".") == ""
    run(go, "vet", "./...")


def test_it_imports_nothing_but_the_standard_library() -> None:
    imports = run(require("go"), "list", "-f", '{{join .Imports "\\n"}}\n{{join .TestImports "\\n"}}', "./...").split()
    assert imports
    assert [name for name in imports if "." in name.partition("/")[0]] == []
