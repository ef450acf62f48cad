"""What the monitor shows of itself, as plain values: the JSON documents and the web page are made of the same ones.

Times are Unix milliseconds, hashes are base64 as in checkpoints, ids are hexadecimal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gossip.core import origin_id
from monitor.alarms.book import document
from monitor.config import NamedPeer
from monitor.node import Monitor
from monitor.tables import StoredHead
from runtime.wording import public
from tlog.evidence import Conviction
from tlog.text import encode_base64

Document = dict[str, object]


@dataclass(frozen=True, slots=True)
class Views:
    """Everything that can be asked without showing a checkpoint."""

    monitor: Monitor
    peers: Sequence[NamedPeer]
    urls: Mapping[bytes, str]

    async def logs(self) -> list[Document]:
        """The logs that are followed."""
        return [
            {
                "origin": site.log.origin,
                "id": origin.hex(),
                "url": self.urls[origin],
                "kind": site.kind.value,
                "vkeys": [key.format() for key in site.log.keys],
                "start": site.mirror.start,
                "size": self.monitor.branch(origin).size,
            }
            for origin, site in self.monitor.sites.items()
        ]

    async def heads(self) -> list[Document]:
        """Per log the verified head, what is pending, and the verdict."""
        return [await self._head(origin) for origin in self.monitor.sites]

    async def alarms(self) -> list[Document]:
        """The newest alarms; about a conviction also when both statements had been seen, and when they convicted."""
        evidence = {item.id.hex(): item for item in await self.monitor.store.evidence()}
        documents: list[Document] = []
        for alarm in await self.monitor.alarms.all():
            proof = evidence.get(alarm.evidence or "")
            documents.append(
                {
                    **document(alarm),
                    "first_seen_ms": proof.first_seen_ms if proof else alarm.since_ms,
                    "convicted_ms": proof.convicted_ms if proof else None,
                    "evidence": alarm.evidence if proof else None,
                }
            )
        return documents

    async def evidence(self) -> list[Document]:
        """All evidence, without the bundles."""
        return [
            {
                "id": item.id.hex(),
                "type": item.type,
                "origin": item.origin,
                "accused": item.accused,
                "first_seen_ms": item.first_seen_ms,
                "convicted_ms": item.convicted_ms,
                "bundle": f"/v1/evidence/{item.id.hex()}",
            }
            for item in await self.monitor.store.evidence()
        ]

    def distrust(self) -> dict[str, list[Document]]:
        """What nobody should rely on any more: per log, and per cosigner and log, from which size on."""
        logs: dict[str, list[Conviction]] = {}
        cosigners: dict[tuple[str, str], list[Conviction]] = {}
        for held in self.monitor.gossip.state.evidence.values():
            one = held.conviction
            site = self.monitor.sites.get(origin_id(one.origin))
            if site is not None and one.accused in site.log.keys:
                logs.setdefault(one.origin, []).append(one)
            else:
                cosigners.setdefault((one.accused.format(), one.origin), []).append(one)
        return {
            "logs": [{"origin": origin, **_distrusted(logs[origin])} for origin in sorted(logs)],
            "cosigners": [
                {"vkey": vkey, "origin": origin, **_distrusted(cosigners[vkey, origin])}
                for vkey, origin in sorted(cosigners)
            ],
        }

    async def testimony(self) -> list[Document]:
        """What this monitor and its peers testified: that a log serves nobody a tree that it signed."""
        names = {named.peer.id: named.name for named in self.peers}
        return [
            {
                "origin": held.testimony.origin,
                "kind": held.testimony.kind,
                "size": held.testimony.size,
                "root_hash": encode_base64(held.testimony.root_hash).decode(),
                "first_seen": held.testimony.first_seen,
                "last_tried": held.testimony.last_tried,
                "tries": held.testimony.tries,
                "vantage": held.testimony.vantage,
                "peer": names.get(held.peer),
                "note": held.note.decode(),
            }
            for origin in sorted(self.monitor.gossip.state.testimony)
            for held in self.monitor.gossip.state.testimony[origin]
        ]

    async def bundle(self, id_hex: str) -> bytes | None:
        """The evidence of this id, as it is on disk."""
        for item in await self.monitor.store.evidence():
            if item.id.hex() == id_hex:
                return item.bundle
        return None

    async def peer_list(self) -> list[Document]:
        """The configured peers, and when they were heard of last."""
        return [
            {
                "name": named.name,
                "vkey": named.peer.key.format(),
                "url": None if named.peer.url is None else public(named.peer.url),
                "observer": named.observer.format() if named.observer else None,
                "operator": named.operator,
                "anchor": named.anchor,
                "heard_ms": self.monitor.gossip.heard_ms(named.peer.id),
            }
            for named in self.peers
        ]

    async def _head(self, origin: bytes) -> Document:
        site = self.monitor.sites[origin]
        branch = self.monitor.branch(origin)
        frontier = self.monitor.frontier(origin)
        first_seen_ms = None
        if branch.signed is not None:
            head = branch.signed
            first_seen_ms = await self.monitor.store.first_seen_ms(head.origin, head.size, head.root_hash)
        return {
            "origin": site.log.origin,
            "id": origin.hex(),
            "size": branch.size,
            "root_hash": encode_base64(branch.signed.root_hash).decode() if branch.signed else None,
            "note": frontier.decode() if frontier is not None else None,
            "first_seen_ms": first_seen_ms,
            "confirmed_ms": None if site.confirmed is None else site.confirmed * 1000,
            "convicted": bool(branch.convicted),
            "evidence": [id_.hex() for id_ in branch.convicted],
            "pending": [self._pending(stored) for stored in await self.monitor.store.unsettled(site.log.origin)],
        }

    def _pending(self, stored: StoredHead) -> Document:
        names = {named.peer.id: named.name for named in self.peers}
        return {
            "size": stored.size,
            "root_hash": encode_base64(stored.root_hash).decode(),
            "first_seen_ms": stored.first_seen_ms,
            "via": None if stored.via is None else names.get(stored.via, "a former peer"),
        }


def _distrusted(convictions: Sequence[Conviction]) -> Document:
    """From which size on no tree can be relied on: the smallest one that somebody signed two histories about."""
    since = min(stated.size for one in convictions for stated in one.statements)
    return {"since_size": since, "evidence": sorted(one.id.hex() for one in convictions)}
