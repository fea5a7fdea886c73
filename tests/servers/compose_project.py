"""A compose project as an engine would start it, without one: what each container finds in its environment and files.

project = ComposeProject(folder)
container = project.container("skpayments")
container.environment["PORT"]; container.host_path("/run/secrets/admin_token")
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

_REFERENCE = re.compile(r"\$\$|\$\{([A-Za-z_]+)(?::(-|\?)([^}]*))?\}")
_URL = re.compile(r"(?:https?|postgresql)://(?:[^@/\s]*@)?([a-z-]+):(\d+)")


@dataclass(frozen=True, slots=True)
class Mount:
    """A host folder (None: a named volume) at `target`."""

    source: Path | None
    target: PurePosixPath
    read_only: bool


@dataclass(frozen=True, slots=True)
class Container:
    """One service: everything a process in it can see."""

    name: str
    command: list[str]
    environment: dict[str, str]
    mounts: tuple[Mount, ...]
    networks: frozenset[str]
    ports: tuple[str, ...]
    user_id: int

    def mount_of(self, path: str) -> Mount:
        """The innermost mount that holds the path; `AssertionError` for a path that is in the image only."""
        holding = [mount for mount in self.mounts if PurePosixPath(path).is_relative_to(mount.target)]
        assert holding, f"{self.name}: {path} is not mounted"
        return max(holding, key=lambda mount: len(mount.target.parts))

    def host_path(self, path: str) -> Path:
        """The host's file behind a path of the container, which its user may read."""
        mount = self.mount_of(path)
        assert mount.source is not None, f"{self.name}: {path} is in a volume, which is empty at first"
        found = mount.source / PurePosixPath(path).relative_to(mount.target)
        assert found.exists(), f"{self.name}: {path} is not there: {found}"
        assert _readable(found, self.user_id), f"{self.name}: {path} cannot be read by user {self.user_id}"
        return found

    def writable(self, path: str) -> bool:
        return not self.mount_of(path).read_only


class ComposeProject:
    """docker-compose.yml and .env of a folder, interpolated as compose does: a required variable must have a value."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.variables = dict(_env_lines((folder / ".env").read_text(encoding="utf-8")))
        self.document: Any = self._filled(yaml.safe_load((folder / "docker-compose.yml").read_text(encoding="utf-8")))

    def names(self) -> list[str]:
        return list(self.document["services"])

    def container(self, name: str) -> Container:
        service = self.document["services"][name]
        assert not {"env_file", "privileged", "cap_drop"} & set(service), "this simulation knows none of these"
        networks = frozenset(service["networks"])
        assert networks <= set(self.document["networks"])
        return Container(
            name=name,
            command=list(service.get("command", [])),
            environment={key: str(value) for key, value in service.get("environment", {}).items()},
            mounts=tuple(self._mount(volume) for volume in service.get("volumes", [])),
            networks=networks,
            ports=tuple(service.get("ports", [])),
            user_id=int(str(service.get("user", "0")).partition(":")[0]),  # every image here runs as root by itself
        )

    def peers_of(self, container: Container, text: str) -> set[tuple[str, int]]:
        """Every service and port that the text names by a URL; each must be on a network of the container."""
        found = {(name, int(port)) for name, port in _URL.findall(text)}
        for name, _ in found:
            peer = self.container(name)
            assert peer.networks & container.networks, f"{container.name} has no network with {name}"
        return found

    def _filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        return _REFERENCE.sub(self._variable, value) if isinstance(value, str) else value

    def _variable(self, found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        value = self.variables.get(found[1], "")
        assert value or found[2] == "-", f"compose: required variable {found[1]} is missing a value: {found[3]}"
        return value or found[3]

    def _mount(self, volume: Any) -> Mount:
        if isinstance(volume, dict):
            assert volume["type"] == "bind"
            source, target, read_only = volume["source"], volume["target"], volume.get("read_only", False)
        else:
            source, target, *options = volume.split(":")
            read_only = options == ["ro"]
        if not source.startswith((".", "/")):
            assert source in self.document["volumes"], source
            return Mount(None, PurePosixPath(target), read_only)
        path = Path(os.path.normpath(self.folder / source))
        assert path.is_dir() or source == "/dev/null", f"{volume}: only folders are mounted, and {path} is none"
        return Mount(path, PurePosixPath(target), read_only)


def _env_lines(text: str) -> list[tuple[str, str]]:
    pairs = []
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            assert equals, line
            assert not re.search(r"""["'$#\s\\]""", value), f"{name}: compose would read this otherwise"
            pairs.append((name, value))
    return pairs


def _readable(path: Path, user_id: int) -> bool:
    if user_id == 0:
        return True
    mode = path.stat()
    return bool(mode.st_mode & (stat.S_IRUSR if mode.st_uid == user_id else stat.S_IROTH))
