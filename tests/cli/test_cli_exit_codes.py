"""The table of exit codes, restated by hand; and the program as a program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_result import Skpay

import gateway
from gateway import errors
from gateway.cli import EXIT, check, exit_code

BY_HAND: dict[str, int] = {
    "SkpayError": 2, "InvalidInput": 2, "BadSignature": 2, "NotAuthenticated": 2, "Forbidden": 2, "TierRequired": 2,
    "NotFound": 2, "Conflict": 2, "TooLarge": 2, "WrongMediaType": 2, "TooMany": 3, "UpstreamFailed": 3,
    "StoreUnavailable": 3, "ConfigError": 2,
    "AlreadyRunning": 2,
}  # fmt: skip


def test_every_error_has_the_exit_code_of_the_style() -> None:
    found = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.SkpayError)]
    assert {cls.__name__: exit_code(_made(cls)) for cls in found} == {
        cls.__name__: BY_HAND[cls.__name__] for cls in found
    }
    assert len(EXIT) >= 4


def _made(cls: type[errors.SkpayError]) -> errors.SkpayError:
    return errors.ConfigError(["x"]) if cls is errors.ConfigError else cls("x")


def _raising(error: BaseException) -> Callable[[], None]:
    def configuration() -> None:
        raise error

    return configuration


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (errors.UpstreamFailed("Stripe is away.", detail="timeout"), 3, "error: Stripe is away. (timeout)\n"),
        (errors.ConfigError(["a: wrong", "b: [red]wrong"]), 2, "error: a: wrong\nerror: b: [red]wrong\n"),
        (errors.NotFound("no", detail="key sk_live_abcdef123456"), 2, "error: no (key ********)\n"),
        (PermissionError(13, "Permission denied", "/data/x"), 2, "error: /data/x: Permission denied\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)  # fmt: skip
async def test_an_error_is_printed_in_a_line_with_its_exit_code(
    skpay: Skpay, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, text: str
) -> None:
    monkeypatch.setattr(check, "configuration", _raising(error))
    result = await skpay("check", env={"STRIPE_SECRET_KEY": "sk_test_1"})
    assert (result.code, result.err.lstrip("\n")) == (code, text)


async def test_a_bug_shows_its_traceback_and_is_70(skpay: Skpay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "configuration", _raising(RuntimeError("a bug")))
    result = await skpay("check")
    assert result.code == 70
    assert "error: internal error, please report it" in result.err
    assert "RuntimeError: a bug" in result.err


def _program(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
    command = [sys.executable, "-m", "gateway", *words]
    return subprocess.run(command, env={**inherited, **(env or {})}, capture_output=True, text=True, timeout=60)


def test_python_m_gateway_is_skpay(tmp_path: Path) -> None:
    assert _program("--version").stdout.strip() == f"skpay, version {gateway.__version__}"
    missing = _program("routes", "check", "--apps", str(tmp_path / "x"), "--public-url", "https://pay.example.com")
    assert (missing.returncode, missing.stdout) == (2, "")
    assert _program("check").returncode == 2


def test_a_terminal_of_another_encoding_stops_no_command(tmp_path: Path) -> None:
    done = _program("schema", "write", str(tmp_path / "x.json"), env={"PYTHONIOENCODING": "latin-1"})
    assert (done.returncode, done.stdout) == (0, f"\\u2713 {tmp_path}/x.json written\n")


def test_a_closed_pipe_causes_no_error_message() -> None:
    inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "schema", "show"],
        env=inherited,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1
