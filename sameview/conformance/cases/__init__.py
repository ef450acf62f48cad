"""The table of cases, in the order in which they are run.

What can be tried only while the witness knows no larger tree comes first. What makes a careless witness cosign a second
history comes last, because nothing that such a witness answers afterwards says much.
"""

from sameview.conformance.cases import accepted, beginning, cosignatures, malformed, public, refused, transport
from sameview.conformance.cases.case import Case

CASES: tuple[Case, ...] = (
    *beginning.CASES,
    *accepted.CASES,
    *cosignatures.CASES,
    *public.CASES,
    *transport.CASES,
    *malformed.CASES,
    *refused.CASES,
)

# What the protocol asks and nobody can see from outside, or asks of clients: no case cites these.
UNSEEN = {
    "W-1": "the witness may choose its prefixes: --monitoring-url names the other one",
    "W-2": "where the witness keeps its key cannot be seen",
    "W-26": "asked of clients",
}
