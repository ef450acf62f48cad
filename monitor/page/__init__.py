"""What auditors live with: one page of everything the monitor sees, the same as JSON, and the plots on it.

``document`` says what an overview is, ``overview`` makes one of a monitor, ``render`` makes the page of it, ``plots``
draws, and ``web`` answers. Other programs may import ``document``, which needs nothing.
"""
