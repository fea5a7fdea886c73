"""What more than one folder of tests needs."""

from servers.litellm_server import real_litellm  # noqa: F401  # a fixture, found by its name
