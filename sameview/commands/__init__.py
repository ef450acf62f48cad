"""The commands, one module each, imported when asked for."""
