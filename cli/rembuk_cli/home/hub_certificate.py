"""How regions know that they speak to their hub: an authority that the hub makes once, and a server certificate that
it signs and renews."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from rembuk.process import state_file
from rembuk.process.state_file import Damaged
from rembuk.settings import CannotRun

AUTHORITY_LASTS = timedelta(days=3650)
LASTS, RENEWED_BEFORE = timedelta(days=365), timedelta(days=60)
COMMON_NAME = 64
"""What may have so many letters, and is for people alone: a host is known by the names beside it."""
BACKDATED = timedelta(days=1)
"""A region's clock may be behind."""


class HubCertificate:
    """In one directory: `ca.pem`, which regions get; `server.pem` and `server.key` for the hub's nats-server; `ca.key`,
    which never leaves it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.authority, self._authority_key = directory / "ca.pem", directory / "ca.key"
        self.certificate, self.key = directory / "server.pem", directory / "server.key"

    def prepare(self, hosts: Sequence[str]) -> None:
        """Make what is missing; sign anew what ends soon, names other hosts or is damaged. The authority that regions
        know cannot be made again. Raises OSError, ValueError, Damaged."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.authority.exists():
            if self.certificate.exists():
                raise Damaged(self.authority, "missing")
            self._make_authority()
        if not self.certificate.exists() or not self._lasts(hosts):
            self._sign(hosts)

    def _lasts(self, hosts: Sequence[str]) -> bool:
        try:
            certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
            serialization.load_pem_private_key(self.key.read_bytes(), None)
        except (OSError, ValueError):
            return False
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        now = datetime.now(UTC)
        begun = certificate.not_valid_before_utc <= now  # not so where a clock ran ahead when it was signed
        return begun and certificate.not_valid_after_utc - now > RENEWED_BEFORE and names == _names(hosts)

    def require_lasting(self, hosts: Sequence[str]) -> None:
        """Raises CannotRun where it is to be signed anew: a running server has the one that it was started with."""
        if self.certificate.exists() and not self._lasts(hosts):
            raise CannotRun(
                f"regions will soon know this hub no more, by {self.certificate}: it ends within "
                f"{RENEWED_BEFORE.days} days, has not begun or is damaged; have it signed anew by `rembuk hub down` "
                "and `rembuk hub up`"
            )

    def _make_authority(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Rembuk hub")])
        certificate = (
            _unsigned(name, name, key.public_key(), AUTHORITY_LASTS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        state_file.write(self._authority_key, _private(key))
        state_file.write(self.authority, certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(self, hosts: Sequence[str]) -> None:
        try:
            authority = x509.load_pem_x509_certificate(self.authority.read_bytes())
            signer = serialization.load_pem_private_key(self._authority_key.read_bytes(), None)
        except (OSError, ValueError) as error:
            raise Damaged(self._directory / "ca.*", str(error)) from error
        assert isinstance(signer, ec.EllipticCurvePrivateKey)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:COMMON_NAME])])
        certificate = (
            _unsigned(name, authority.subject, key.public_key(), LASTS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_names(hosts), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(signer, hashes.SHA256())
        )
        state_file.write(self.key, _private(key))
        state_file.write(self.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lasts: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + lasts)
    )


def _names(hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_name(host) for host in hosts])


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
