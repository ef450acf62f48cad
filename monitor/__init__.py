"""A monitor: follows logs, re-hashes every entry, gossips, and raises alarms with evidence."""
