"""What more than one folder of tests needs."""

from hypothesis import settings
from servers.litellm_server import real_litellm  # noqa: F401  # a fixture, found by its name

# A law is no slower for a machine that is busy with something else.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
