"""The ways to people: a web hook, mail, a program, the standard output. What is brought, and whether it arrived."""

from monitor.delivery.channel import Channel as Channel
from monitor.delivery.channel import Undelivered as Undelivered
from monitor.delivery.config import DeliverConfig as DeliverConfig
from monitor.delivery.config import Recipient as Recipient
from monitor.delivery.config import read_recipients as read_recipients
from monitor.delivery.letter import Letter as Letter
