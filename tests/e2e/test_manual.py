"""The walk through the monitor's manual is true: its commands run in its order, and a mail server gets the mail."""

import email
import email.policy
import os
import re
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.ports import free_port

TOP = Path(__file__).resolve().parents[2]
MANUAL = (TOP / "docs" / "monitor.md").read_text()
SECTION = MANUAL.partition("\n## From nothing to an e-mail about a watched entry\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
SECONDS = 240
SERVES = """
for url in http://127.0.0.1:8080/checkpoint; do
  for _ in $(seq 600); do curl -sf $url > /dev/null && break; sleep 0.1; done
done
"""
FIRST_MAIL = "for _ in $(seq 600); do [ -f mail.1 ] && break; sleep 0.1; done\n"
ARRIVES = "for _ in $(seq 600); do [ -f 1.tlog-proof ] && [ -f 1.entry ] && break; sleep 0.1; done\n"
# Whoever has no mail has neither file, fetches both, and verifies them as above; they are those that a mail brings.
PUT_ASIDE = "mkdir mailed\nmv 1.tlog-proof 1.entry mailed\n"
THE_SAME = "cmp 1.tlog-proof mailed/1.tlog-proof\ncmp 1.entry mailed/1.entry\n"
# The hash of the walk's release and the ports are the only things that are not typed as they stand.
PORTS = ("8080", "8090", "8082", "8092")


class Inbox:
    """A mail program that saves attachments where its user is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.mails.append(mail)
        (self._folder / f"mail.{len(self.mails)}").touch()
        for part in mail.iter_attachments():
            data = part.get_payload(decode=True)
            name = part.get_filename()
            assert isinstance(data, bytes)
            assert name is not None
            draft = self._folder / f"{name}.draft"
            draft.write_bytes(data)
            draft.rename(self._folder / name)
        return "250 OK"


@pytest.mark.slow
def test_an_auditor_comes_from_nothing_to_a_mail_about_a_watched_entry(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path)
    controller = Controller(inbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        done = subprocess.run(
            ["bash", "-c", script(controller.port)],
            cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
    finally:
        controller.stop()
    logs = "\n".join(f"{log.name}:\n{log.read_text()[-2000:]}" for log in tmp_path.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs
    assert done.stdout.count("OK: the entry is number 1 of the log") == 2
    subjects = [str(mail["subject"]) for mail in inbox.mails]
    assert subjects[0].startswith("[sameview] health: all watches and channels keep up")
    assert "match: the watch our product found entry 1 of log.example/one" in subjects[1]
    assert [mail["to"] for mail in inbox.mails] == ["auditor@example.com"] * len(inbox.mails)


def script(mail_port: int) -> str:
    log, monitor, entries, verify, again = BLOCKS
    walk = f"{log}{SERVES}{monitor}{FIRST_MAIL}{entries}{ARRIVES}{verify}{PUT_ASIDE}{again}{THE_SAME}{verify}"
    whole = f"set -eu\ntrap 'kill $(jobs -p)' EXIT\n{walk}"
    for port in PORTS:
        whole = whole.replace(f":{port}", f":{free_port()}")
    tools = f'export PATH="{Path(sys.executable).parent}:$PATH"\n'
    return tools + whole.replace("port = 2525", f"port = {mail_port}")
