"""Sameview: check, with others, that everyone sees the same transparency log."""
