"""A few questions to NATS without nats-py are answered as nats-py is."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import nats
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import StreamConfig
from rembuk.broker.nats_asking import Asking, NoStream, Unanswered, asking
from rembuk.embedded.nats_server import EmbeddedNats
from rembuk.testing.ports import free_ports

CONNECT_S = 3.0


@pytest.fixture(scope="module")
async def client(nats_url: str) -> AsyncIterator[Client]:
    client = await nats.connect(nats_url)
    yield client
    await client.close()


@pytest.fixture(scope="module")
async def asked(nats_url: str) -> AsyncIterator[Asking]:
    async with asking(nats_url, "a test", CONNECT_S) as one:
        yield one


async def heard(client: Client) -> None:
    """The server knows what is subscribed to: of one flush, nats-py's PING goes ahead of what waits to be written."""
    await client.flush()
    await client.flush()


@given(st.lists(st.binary(max_size=70_000), min_size=1, max_size=4))
@settings(max_examples=20)
async def test_each_question_has_its_own_answer(client: Client, asked: Asking, sent: list[bytes]) -> None:
    async def answer(message: Msg) -> None:
        await message.respond(message.data[::-1])

    there = await client.subscribe(subject := f"asking.{uuid4().hex}", cb=answer)
    await heard(client)
    assert [await asked.ask(subject, one) for one in sent] == [one[::-1] for one in sent]
    await there.unsubscribe()


@pytest.fixture(scope="module")
def by_tls() -> Iterator[tuple[EmbeddedNats, Path]]:
    """A server that speaks TLS alone and knows one user; and the certificate by which it is known."""
    with TemporaryDirectory(prefix="rembuk-") as parent:
        certificate, key = Path(parent, "cert.pem"), Path(parent, "key.pem")
        _certify(certificate, key)
        settings = {
            "tls": {"cert_file": str(certificate), "key_file": str(key)},
            "authorization": {"user": "region", "password": "correct"},
        }
        server = EmbeddedNats(Path(parent, "server"), free_ports(), lambda: settings)
        server.start()
        try:
            yield server, certificate
        finally:
            server.kill()


async def test_a_server_that_asks_for_tls_and_a_password_is_asked_by_them(
    by_tls: tuple[EmbeddedNats, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, certificate = by_tls
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    for scheme in ("nats", "tls"):
        async with asking(f"{scheme}://region:correct@127.0.0.1:{server.port}", "a test", CONNECT_S) as asked:
            with pytest.raises(NoStream):
                await asked.tail("NONE")
        with pytest.raises(Unanswered, match="Authorization Violation"):
            async with asking(f"{scheme}://region:wrong@127.0.0.1:{server.port}", "a test", CONNECT_S):
                pass
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(Unanswered, match="CERTIFICATE_VERIFY_FAILED"):
        async with asking(f"tls://region:correct@127.0.0.1:{server.port}", "a test", CONNECT_S):
            pass


def _certify(certificate: Path, key: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")]), datetime.now(UTC)
    signed = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(private.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )  # fmt: skip
    certificate.write_bytes(signed.public_bytes(Encoding.PEM))
    key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


async def test_the_end_of_a_stream_is_what_nats_py_says(client: Client, asked: Asking) -> None:
    jetstream, name = client.jetstream(), f"ASKING_{uuid4().hex}"
    with pytest.raises(NoStream):
        await asked.tail(name)
    await jetstream.add_stream(StreamConfig(name=name, subjects=[f"{name}.>"]))
    assert await asked.tail(name) == (0, 0)
    for number in range(3):
        await jetstream.publish(f"{name}.x", b"", headers={"Nats-Msg-Id": str(number), "ce-actor": "a: b"})
    assert await asked.tail(name) == (3, 3)
    assert await asked.headers(name, 2) == (await jetstream.get_msg(name, seq=2)).headers
    with pytest.raises(NoStream):
        await asked.headers(name, 4)


async def test_nobody_and_silence_are_told_and_what_comes_late_answers_no_later_question(
    client: Client, asked: Asking
) -> None:
    with pytest.raises(Unanswered, match="nobody is there"):
        await asked.ask(f"asking.{uuid4().hex}")
    silent = await client.subscribe(subject := f"asking.{uuid4().hex}")
    await heard(client)
    with pytest.raises(Unanswered, match="within 0 s"):
        await asked.ask(subject, b"first", timeout_s=0.05)
    late = await silent.next_msg(5)
    second = asyncio.create_task(asked.ask(subject, b"second"))
    asked_again = await silent.next_msg(5)
    await late.respond(b"late")
    await asked_again.respond(b"in time")
    assert await second == b"in time"


@asynccontextmanager
async def a_server_that(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    async with await asyncio.start_server(serve, "127.0.0.1") as server:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_whoever_is_away_refuses_or_is_no_nats_is_told_within_the_time_to_connect(nats_url: str) -> None:
    async def is_no_nats(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def closes(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO {}\r\nPING\r\n")
        while not (await reader.readline()).startswith(b"PONG"):
            pass
        writer.write(b"-ERR 'Authorization Violation'\r\n")

    async def hangs(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    for serve, why in (
        (is_no_nats, "not a nats"),
        (closes, "closed"),
        (refuses, "Authorization"),
        (hangs, "TimeoutError"),
    ):
        async with a_server_that(serve) as url:
            with pytest.raises(Unanswered, match=why):
                async with asking(url, "a test", 0.5):
                    pass
    with pytest.raises(Unanswered, match="Connect call failed"):
        async with asking(url, "a test", CONNECT_S):  # its server has ended
            pass
