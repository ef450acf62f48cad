"""Alarms: which reasons to look there are, since when, what each means, and what was told to people about it.

``kinds`` says what an alarm means, ``core`` decides about those that depend on time, ``book`` keeps all of them.
"""
