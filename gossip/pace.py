"""How long to leave a peer alone: after a failure, after a refusal, or because it asked for it."""

import random
from dataclasses import dataclass

FIRST_RETRY_SECONDS = 0.25  # after a failure, doubled each time
LAST_RETRY_SECONDS = 10.0  # one anti-entropy period: a peer that returns is noticed by the next one


@dataclass(slots=True)
class Pace:
    """How long to leave a peer alone after a request: longer after each failure, or for as long as it asked for.

    Nothing ends the pause before ``shortest``, which is less than ``seconds`` only if the peer could not be reached.
    """

    _chance: random.Random
    _failures: int = 0
    seconds: float = 0.0
    shortest: float = 0.0

    def succeeded(self) -> None:
        self._failures, self.seconds, self.shortest = 0, 0.0, 0.0

    def asked_to_wait(self, seconds: float) -> None:
        self.seconds = self.shortest = max(seconds, self._longer())

    def was_refused(self) -> None:
        self._failures += 1
        self.seconds = self.shortest = self._longer()

    def found_nobody(self) -> None:
        self._failures += 1
        self.seconds = self._longer()
        self.shortest = min(self.seconds, FIRST_RETRY_SECONDS)

    def _longer(self) -> float:
        if not self._failures:
            return 0.0
        longest: float = min(FIRST_RETRY_SECONDS * 2 ** min(self._failures - 1, 16), LAST_RETRY_SECONDS)
        return longest * self._chance.uniform(0.5, 1.0)
