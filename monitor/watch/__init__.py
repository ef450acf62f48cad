"""What a watch-list looks for in entries. Pure, and of bounded time whatever an entry holds.

An entry is what somebody else wrote, perhaps to be overlooked. So a rule never raises for it; its time grows with the
length of the entry, not faster; and where an entry is too twisted to be read, a rule says that it found something, with
the reason, rather than nothing.
"""

from monitor.watch.certificates import CertificateNames as CertificateNames
from monitor.watch.core import Rule as Rule
from monitor.watch.core import Watch as Watch
from monitor.watch.core import matched as matched
from monitor.watch.digests import Digests as Digests
from monitor.watch.json_path import JsonPath as JsonPath
from monitor.watch.modules import ModulePaths as ModulePaths
from monitor.watch.text import Pattern as Pattern
from monitor.watch.text import Substring as Substring
