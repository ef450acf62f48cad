"""What a log shows now: its public checkpoint, and whoever waits for one that covers more."""

import trio

from tlog.signed_checkpoint import SignedCheckpoint


class Shown:
    """The public checkpoint of this process. Whoever publishes sets it, or whoever follows what another publishes."""

    def __init__(self, checkpoint: SignedCheckpoint | None) -> None:
        self.checkpoint = checkpoint
        """None before the first."""
        self._news = trio.Event()

    def show(self, checkpoint: SignedCheckpoint) -> None:
        """Show another one from now on."""
        self.checkpoint = checkpoint
        self._news.set()
        self._news = trio.Event()

    async def covered(self, index: int) -> None:
        """Wait until the public checkpoint covers this index."""
        while self.checkpoint is None or self.checkpoint.size <= index:
            await self._news.wait()
