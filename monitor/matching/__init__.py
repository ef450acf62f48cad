"""Looks through every entry of the branches for what people watch, once and in order, and keeps what it finds."""

from monitor.matching.doors import matching_routes as matching_routes
from monitor.matching.matcher import Lag as Lag
from monitor.matching.matcher import Log as Log
from monitor.matching.matcher import Matcher as Matcher
from monitor.matching.matching import Matching as Matching
from monitor.matching.store import Findings as Findings
from monitor.matching.store import ListedMatch as ListedMatch
from monitor.matching.store import MatchStore as MatchStore
from monitor.matching.store import StoredMatch as StoredMatch
