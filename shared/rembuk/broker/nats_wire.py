"""Two shortcuts through nats-py, on the path of every event: there its general way with headers took 60 % of the
relay's time and 40 % of a follower's (py-spy, nats-py 2.16). tests/shared/broker/test_nats_wire.py holds both against
it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nats.aio.client import Client


def parse_header_lines(raw: bytes) -> dict[str, str]:
    """`Name: value` lines as a dict: what nats-py's own parser gives for the headers that servers pass on."""
    out: dict[str, str] = {}
    for line in raw.decode("utf-8", "replace").split("\r\n"):
        name, colon, value = line.partition(":")
        if colon and " " not in name:
            out[name] = value.strip()
    return out


def quicken(client: Client) -> Client:
    """Have this connection parse headers by `parse_header_lines`."""
    client._parse_header_lines = parse_header_lines  # type: ignore[method-assign]
    return client


def message(subject: str, header: str, data: bytes, reply: str = "") -> bytes:
    """One HPUB of the NATS protocol; `header` holds whole lines, each ending in CRLF."""
    head = f"NATS/1.0\r\n{header}\r\n".encode()
    to = f"HPUB {subject} {reply} {len(head)} {len(head) + len(data)}\r\n".encode()
    return b"%b%b%b\r\n" % (to, head, data)


async def send(client: Client, messages: list[bytes]) -> None:
    """Write messages to the server at once; raises nats.errors.Error where the connection is not there."""
    if not client.is_connected:
        raise ConnectionResetError("not connected to NATS")
    await client._send_command(b"".join(messages))
    await client._flush_pending()
