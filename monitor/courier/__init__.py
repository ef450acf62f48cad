"""Brings every notice to every channel that is to have it: at least once, in order, for as long as that takes."""

from monitor.courier.courier import Courier as Courier
from monitor.courier.courier import addressees as addressees
from monitor.courier.doors import channel_routes as channel_routes
from monitor.courier.store import CourierStore as CourierStore
from monitor.courier.store import StoredChannel as StoredChannel
