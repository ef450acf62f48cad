"""``sameview fsck``: believe nothing that a log serves but its signature, and re-derive everything else.

Every entry is hashed, every tile of every level is computed from the entries and compared with the one that is served,
and the root of all of them is compared with the signed one. The derivation shares no code with the log server. With
``tiles_only`` the level-0 tiles take the place of the entries, for mirrors and logs that keep their entries elsewhere.

The first difference ends the check and names the file at fault.
"""

from sameview.fsck.derived import DerivedTree as DerivedTree
from sameview.fsck.whole import Checked as Checked
from sameview.fsck.whole import check as check
