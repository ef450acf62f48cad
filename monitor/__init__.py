"""The monitor: it follows logs, re-hashes every entry, gossips with other monitors, and convicts logs that fork.

``monitor.core`` decides, ``monitor.mirror`` and ``monitor.store`` keep, ``monitor.follow`` fetches, ``monitor.look``
asks a log what it shows, ``monitor.node`` does what the gossip machine wants done, and ``monitor.app`` answers over
HTTP. docs/monitor.md tells how to run one.
"""
