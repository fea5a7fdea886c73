"""Looks at a running installation from outside and says what is wrong and what to type."""

from gateway.doctor.context import Options
from gateway.doctor.examination import examine
from gateway.doctor.finding import Finding

__all__ = ["Finding", "Options", "examine"]
