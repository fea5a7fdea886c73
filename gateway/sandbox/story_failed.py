"""The failure of a story or of the demo."""

from __future__ import annotations


class StoryFailedError(AssertionError):
    """A step did not have its effect, or could not be taken. The text is for the operator."""
