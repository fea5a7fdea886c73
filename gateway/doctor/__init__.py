"""Looks at a running installation from outside and says what is wrong and what to type."""

from gateway.doctor.examination import Finding, examine

__all__ = ["Finding", "examine"]
