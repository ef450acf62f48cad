"""The world: HTTP server and client, database, clock, files, keys on disk, configuration, logs and metrics."""
