"""Wires the rooms, starts, reloads, stops. The only room that knows all the others."""

from gateway.app.application import Application
from gateway.app.catalog_file import CatalogFile

__all__ = ["Application", "CatalogFile"]
