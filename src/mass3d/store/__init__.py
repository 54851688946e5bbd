"""Prepared cases on disk: written whole or not at all, read by crops, checked at any time."""
