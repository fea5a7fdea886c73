"""Looks at a running installation from outside and says what is wrong and what to type."""

from gateway.doctor.examination import examine
from gateway.doctor.finding import Finding
from gateway.doctor.place import Options

__all__ = ["Finding", "Options", "examine"]
