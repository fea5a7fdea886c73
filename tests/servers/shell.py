"""Commands typed into a shell with a terminal, and what a person answers."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class TerminalResult:
    """How a command ended, all that the terminal showed, and the folder that the shell is in after it."""

    code: int
    shown: str
    folder: Path


async def type_command(
    command: str, folder: Path, env: Mapping[str, str], answers: Sequence[tuple[str, str]] = ()
) -> TerminalResult:
    """Run one line in bash. Each of `answers` is typed once the text before it was shown; all must have been."""
    return await asyncio.to_thread(_typed, command, folder, dict(env), list(answers))


def _typed(command: str, folder: Path, env: dict[str, str], answers: list[tuple[str, str]]) -> TerminalResult:
    ours, theirs = pty.openpty()
    left, leaves = os.pipe()
    script = f'cd "$FOLDER_OF_THE_TEST" && {command}\ncode=$?; pwd >&{leaves}; exit $code'
    try:
        process = subprocess.Popen(
            ["bash", "--norc", "-c", script], env={**env, "FOLDER_OF_THE_TEST": str(folder)}, pass_fds=(leaves,),
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        os.close(theirs)
        os.close(leaves)
        try:
            shown = _conversation(process, ours, answers)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
        return TerminalResult(process.returncode, shown, Path(os.read(left, 4096).decode().strip()))
    finally:
        os.close(ours)
        os.close(left)


def _conversation(process: subprocess.Popen[bytes], terminal: int, answers: list[tuple[str, str]]) -> str:
    shown, looked_at = "", 0
    deadline = time.monotonic() + SECONDS
    while True:
        assert time.monotonic() < deadline, f"not within {SECONDS} s: the end of\n{shown}"
        if answers and answers[0][0] in shown[looked_at:]:
            request, answer = answers.pop(0)
            looked_at = shown.index(request, looked_at) + len(request)
            os.write(terminal, answer.encode())
        ready, _, _ = select.select([terminal], [], [], 0.05)
        if ready:
            read = b""
            with contextlib.suppress(OSError):  # Linux: EIO once the last one has closed the other end
                read = os.read(terminal, 65536)
            if not read:
                break
            shown += read.decode("utf-8", "replace").replace("\r\n", "\n")
    process.wait(10)
    assert answers == [], f"prompts that did not appear: {answers}; shown:\n{shown}"
    return shown
