"""The addresses that a node listens on, as its configuration writes them: looked at before anything is made.

What a machine has and what is taken is found out when a node opens its listeners; what no machine could have, here.
"""

from pathlib import Path

from runtime.errors import UsageError


def parse_address(address: str) -> tuple[str, int]:
    """Read ``host:port``, such as ``127.0.0.1:8080`` or ``[::1]:8080``.

    Raises:
        UsageError: it is not of that form.
    """
    host, colon, port = address.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not (host and colon and port.isascii() and port.isdecimal() and len(port) <= 5 and int(port) <= 65535):
        raise UsageError(f"{address} is not an address to listen on: write host:port, such as 127.0.0.1:8080")
    return host, int(port)


def check_addresses(config: Path, listen: str, operator_listen: str | None) -> None:
    """Check what a configuration file says of the two addresses of a node.

    Raises:
        UsageError: one is none, or they are the same; begins with the file.
    """
    found: list[tuple[str, int]] = []
    for name, address in (("listen", listen), ("operator_listen", operator_listen)):
        if address is not None:
            try:
                found.append(parse_address(address))
            except UsageError as error:
                raise UsageError(f"{config}: `{name}`: {error}") from None
    if len(set(found)) < len(found) and found[0][1] != 0:  # port 0 is another one each time
        raise UsageError(f"{config}: `listen` and `operator_listen` are the same address: give each a port of its own")
