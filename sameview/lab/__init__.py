"""A federation on one machine, and the liars to test it with.

The only place, with the conformance kit and the tests, that signs notes without a register: somebody has to lie.
"""
