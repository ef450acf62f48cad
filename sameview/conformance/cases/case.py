"""A case: a name that stays, the requirements it cites, a sentence, and what is done."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sameview.conformance.session import Session


@dataclass(frozen=True, slots=True)
class Case:
    """One promise of a witness, and how it is put to the test.

    ``run`` returns when the witness keeps it. Names are a contract: scripts select cases by them.
    """

    name: str
    requirements: tuple[str, ...]
    sentence: str
    run: Callable[[Session], Awaitable[None]]
