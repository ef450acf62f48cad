"""What monitors answered about one checkpoint, to be checked offline: is this the head that everybody sees?

    tlog-view@v1
                                    an empty line
    <checkpoint with signatures>    the one that was asked about, verbatim
    --                              and then for each answer
    frontier
    hash <base64 hash>...           the consistency proof between the two trees; none where there is nothing to prove
                                    an empty line
    <checkpoint with signatures>    the monitor's own head, cosigned by its observer, verbatim

The judge is a tlog-policy whose ``witness`` lines are the monitors' observers. An answer counts for the observers that
cosigned its frontier within the times asked for, if the log signed the frontier too and the proof shows that it grew
out of the checkpoint, or is the same tree. The view holds if those observers make the quorum, and no answer shows that
the log signed two histories.

A frontier that is smaller than the checkpoint does not count, also where a proof shows that the checkpoint grew out of
it: that monitor has not seen the rest. A log that lets one client have entries of its own would show it just this.

``parse`` reads the grammar and believes nothing. Files are named ``*.tlog-view``; specs/views.md is the whole format.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tlog.checkpoint import Checkpoint
from tlog.errors import FormatError, ProofError, SignatureError
from tlog.hashing import Hash, TreeHead
from tlog.note import Note
from tlog.policy import Policy, WitnessVerdict, printable
from tlog.proofs import fold, verify_consistency
from tlog.signed_checkpoint import SignedCheckpoint, open_checkpoint, take_checkpoint
from tlog.text import MAX_INTEGER, cut
from tlog.tied import MAX_HASHES, format_tied, take_tied

MAX_ANSWERS = 64  # twice the 32 witnesses that every policy may have
MAX_VIEW_BYTES = 4 * 1024 * 1024  # 64 answers with a dozen ML-DSA-44 signatures each

FIRST_LINE = b"tlog-view@v1"

_ANSWER = b"frontier"


@dataclass(frozen=True, slots=True)
class Answer:
    """A monitor's head, and the proof that ties it to the checkpoint it was asked about."""

    frontier: Note
    path: tuple[Hash, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """A checkpoint and the answers about it. Only ``judge`` tells what they are worth."""

    note: Note
    answers: tuple[Answer, ...] = ()

    def __post_init__(self) -> None:
        if len(self.answers) > MAX_ANSWERS or any(len(answer.path) > MAX_HASHES for answer in self.answers):
            raise ValueError("too many answers, or too many hashes in one")

    @classmethod
    def parse(cls, data: bytes) -> "View":
        """Read a view. Its notes are well-formed checkpoints then, and nothing about them has been verified."""
        if len(data) > MAX_VIEW_BYTES:
            raise FormatError("a view is too large")
        first, rest = cut(data, b"\n\n", "a view has no empty line after its first line")
        if first != FIRST_LINE:
            raise FormatError("a view does not start with the line tlog-view@v1")
        note, more = take_checkpoint(rest, "a view")
        answers: list[Answer] = []
        while more is not None:
            if len(answers) == MAX_ANSWERS:
                raise FormatError(f"a view has more than {MAX_ANSWERS} answers")
            head, path, more = take_tied(more, _ANSWER, "an answer in a view")
            answers.append(Answer(head, path))
        return cls(note, tuple(answers))

    def format(self) -> bytes:
        """Write the view."""
        first = FIRST_LINE + b"\n\n" + self.note.format()
        return b"--\n".join([first, *(format_tied(_ANSWER, answer.frontier, answer.path) for answer in self.answers)])


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """What became of one answer: the observers it speaks for, or why it counts for nothing."""

    frontier: Checkpoint
    observers: tuple[WitnessVerdict, ...]
    objection: str | None = None
    contradicts: bool = False
    """The log signed both, and they cannot both be true."""

    def explain(self) -> Iterator[str]:
        """Say it in sentences."""
        where = f"answer at size {self.frontier.size}"
        if self.objection is not None:
            yield f"{where}: not counted, {self.objection}"
        for observer in self.observers:
            yield f"{where}: {observer.explain()}"


@dataclass(frozen=True, slots=True)
class JudgedView:
    """What is known of a view. Nothing of it is to be believed before ``require`` returned."""

    checkpoint: SignedCheckpoint | None
    """What was asked about; None unless the log of the policy signed it."""
    policy: Policy
    answers: tuple[JudgedAnswer, ...]

    @property
    def agreeing(self) -> tuple[str, ...]:
        """The names of the policy's observers that have seen the checkpoint in their own tree, sorted."""
        return tuple(sorted(self._times()))

    @property
    def met(self) -> bool:
        """Tell whether they make the quorum."""
        return self.policy.satisfied_by(self.agreeing)

    @property
    def forked(self) -> JudgedAnswer | None:
        """The first answer that the checkpoint contradicts."""
        return next((answer for answer in self.answers if answer.contradicts), None)

    @property
    def as_of(self) -> int | None:
        """The latest Unix time by which the quorum had stated its views; None without a quorum."""
        times = self._times()
        latest = sorted(set(times.values()), reverse=True)
        return next((at for at in latest if self.policy.satisfied_by([n for n, t in times.items() if t >= at])), None)

    def require(self) -> SignedCheckpoint:
        """Return the checkpoint if the quorum sees it too.

        Raises:
            ProofError: an answer shows that the log signed two histories.
            SignatureError: the log did not sign the checkpoint, or too few observers agree.
        """
        if self.checkpoint is None:
            raise SignatureError("no log of the policy signed the checkpoint")
        if self.forked is not None:
            raise ProofError("the log signed two histories: one of the answers contradicts the checkpoint")
        if not self.met:
            raise SignatureError("the monitors that agree do not make the quorum of the policy")
        return self.checkpoint

    def explain(self) -> tuple[str, ...]:
        """Say it in sentences: each answer, then the policy's groups and quorum."""
        answers = (sentence for answer in self.answers for sentence in answer.explain())
        groups = (group.explain() for group in self.policy.groups_reached(self.agreeing))
        quorum = "none" if self.policy.quorum is None else printable(self.policy.quorum)
        return (*answers, *groups, f"quorum {quorum}: {'met' if self.met else 'not met'}")

    def _times(self) -> dict[str, int]:
        """When each observer that agrees has stated it last."""
        times: dict[str, int] = {}
        for answer in self.answers:
            for observer in answer.observers:
                if observer.counts and observer.time is not None:
                    times[observer.witness.name] = max(observer.time, times.get(observer.witness.name, 0))
        return times


def judge(view: View, policy: Policy, since: int = 0, until: int = MAX_INTEGER) -> JudgedView:
    """Judge a view under a policy of observers; what they stated before ``since`` or after ``until`` does not count."""
    try:
        checkpoint = open_checkpoint(view.note, policy.log_keys(Checkpoint.parse(view.note.text).origin))
    except SignatureError:
        return JudgedView(None, policy, ())
    answers = (judge_answer(checkpoint, answer, policy, since, until) for answer in view.answers)
    return JudgedView(checkpoint, policy, tuple(answers))


def judge_answer(
    checkpoint: SignedCheckpoint, answer: Answer, policy: Policy, since: int = 0, until: int = MAX_INTEGER
) -> JudgedAnswer:
    """Judge one answer about a checkpoint that the log signed."""
    frontier = Checkpoint.parse(answer.frontier.text)
    try:
        signed = _open_frontier(answer.frontier, checkpoint.origin, policy)
    except SignatureError as error:
        return JudgedAnswer(frontier, (), str(error))
    if contradict(checkpoint.head, signed.head, answer.path):
        return JudgedAnswer(frontier, (), "the log signed two histories", contradicts=True)
    older, newer = sorted((checkpoint.head, signed.head), key=lambda head: head.size)
    try:
        verify_consistency(older, newer, answer.path)
    except ProofError as error:
        return JudgedAnswer(frontier, (), _unproven(checkpoint.head, signed.head, str(error)))
    if signed.size < checkpoint.size:
        return JudgedAnswer(frontier, (), "it agrees as far as it goes, and has not seen all of the checkpoint")
    witnesses = policy.cosigned(signed, since, until).witnesses
    return JudgedAnswer(frontier, tuple(one for one in witnesses if one.time is not None))


def contradict(one: TreeHead, other: TreeHead, path: Sequence[Hash]) -> bool:
    """Tell whether two heads that one log signed cannot both be true, as their sizes or this path show."""
    if one.size == other.size:
        return one.root_hash != other.root_hash
    older, newer = sorted((one, other), key=lambda head: head.size)
    try:
        old_root, new_root = fold(older.size, newer.size, older.root_hash, path)
    except ProofError:
        return False
    return new_root == newer.root_hash and old_root != older.root_hash


def _open_frontier(note: Note, origin: str, policy: Policy) -> SignedCheckpoint:
    log_keys = policy.log_keys(origin)
    try:
        signed = open_checkpoint(note, (*log_keys, *policy.witness_keys))
    except SignatureError:
        raise SignatureError("no key of the policy signed it, or a line of one does not verify") from None
    if signed.origin != origin:
        raise SignatureError("it is of another log")
    if not any(signed.signed_by(key) for key in log_keys):
        raise SignatureError("the log did not sign it")
    if len(signed.signatures) == sum(signed.signed_by(key) is not None for key in log_keys):
        raise SignatureError("no observer of the policy cosigned it")
    return signed


def _unproven(asked: TreeHead, frontier: TreeHead, why: str) -> str:
    if frontier.size < asked.size:
        return "its tree is smaller than the checkpoint's, and nothing shows how the two relate"
    return f"it is not shown that its tree grew out of the checkpoint's: {why}"
