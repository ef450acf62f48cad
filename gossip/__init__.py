"""How monitors compare what they were shown, so that no log can show two of them two histories for long.

``gossip.core`` decides, without clock, network or disk. ``gossip.messages`` and ``gossip.envelope`` are its bytes,
``gossip.machine`` keeps it running and ``gossip.shell`` carries them. specs/gossip.md describes the protocol for other
implementations.
"""
