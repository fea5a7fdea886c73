"""A wheel carries, beside the code, files that a checkout has anyway: gateway/shipped, where `shipped` finds them."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED = ("apps.json", "apps.schema.json", "docker-compose.yml", "traefik/plugins-local")


class BuildWithShipped(build_py):
    """`build_py` that adds them; an editable installation reads them from the checkout."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for name in SHIPPED:
                place = ROOT / name
                for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
                    if path.is_file() and not path.name.endswith("_test.go"):
                        self._ship(path)

    def _ship(self, path: Path) -> None:
        target = Path(self.build_lib, "gateway", "shipped", path.relative_to(ROOT))
        self.mkpath(str(target.parent))
        self.copy_file(str(path), str(target))


setup(cmdclass={"build_py": BuildWithShipped})
