"""How each kind of log is read: one interface, and a small adapter for each kind."""
