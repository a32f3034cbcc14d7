"""What a process is told by its environment: each setting once, with its type, its limits and what it says."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar, get_args

import msgspec

WITNESSED, WITNESSES = "REMBUK_WITNESSED_LOGS", "REMBUK_WITNESSES"
PARTNERS = "REMBUK_PARTNERS"
PUBLIC_URL = "REMBUK_NOTIFICATIONS_PUBLIC_URL"
DAY_S = 86_400
_NUMBER = re.compile(r"[+-]?[0-9.]+(e[+-]?[0-9]+)?|[+-]?(nan|inf|infinity)", re.IGNORECASE)


class CannotRun(Exception):
    """Why a process ends with its work undone, and what to do about it: the exit code is 2."""


class MissingSetting(CannotRun):
    """The environment does not say what it has to; names the variable."""


class BadSetting(CannotRun):
    """The environment says what cannot be; names the variable and the rule."""


class AboutSetting(msgspec.Struct, frozen=True):
    """What an operator has to know of a setting. `read_by`: which processes; `handed_on`: `rembuk up` hands it to the
    services from its own environment; `otherwise`: the default, where it depends on another setting."""

    name: str
    says: str
    read_by: str = "every process"
    unit: str = ""
    least: float = 0
    most: float = 0
    handed_on: bool = False
    words: tuple[str, ...] = ()
    otherwise: str = ""

    def name_for(self, service: str) -> str:
        return self.name.replace("<SERVICE>", service.upper())


class CommandSettings(msgspec.Struct, frozen=True):
    """What `rembuk` itself reads"""

    postgres_url: Annotated[
        str,
        AboutSetting(
            "REMBUK_POSTGRES_URL", "URL of a PostgreSQL server, as a superuser, in place of our own.", "`rembuk up`"
        ),
    ] = ""
    nats_url: Annotated[
        str, AboutSetting("REMBUK_NATS_URL", "URL of a NATS server with JetStream, in place of our own.", "`rembuk up`")
    ] = ""
    port_base: Annotated[
        int | None,
        AboutSetting(
            "REMBUK_PORT_BASE", "The first of the ports that a region takes.", "`rembuk up`, `demo`", "port",
            1024, 65_000, otherwise="8000, or as the region had them before",
        ),
    ] = None  # fmt: skip
    hub_port_base: Annotated[
        int | None,
        AboutSetting(
            "REMBUK_HUB_PORT_BASE", "The first of the ports that a hub takes.", "`rembuk hub up`", "port",
            1024, 65_000, otherwise="see `rembuk hub up --help`",
        ),
    ] = None  # fmt: skip
    hub_listen: Annotated[
        str,
        AboutSetting(
            "REMBUK_HUB_LISTEN", "Address and port where the hub listens for the regions.", "`rembuk hub up`",
            otherwise="see `rembuk hub up --help`",
        ),
    ] = ""  # fmt: skip


class HubSettings(msgspec.Struct, frozen=True):
    """The hub"""

    joined: Annotated[
        str,
        AboutSetting(
            "REMBUK_HUB_JOINED", "Any text says that the region has a hub; `rembuk up` sets it.", "worker of reports",
            handed_on=True,
        ),
    ] = ""  # fmt: skip
    regions: Annotated[
        str,
        AboutSetting(
            "REMBUK_HUB_REGIONS", "Absolute path of the list of admitted regions.", "worker and `verify` of the hub"
        ),
    ] = ""
    key: Annotated[
        str,
        AboutSetting(
            "REMBUK_HUB_KEY", "The hub's key, or the file or command that has it.", "worker and `verify` of the hub"
        ),
    ] = ""
    stalled_s: Annotated[
        float,
        AboutSetting(
            "REMBUK_HUB_STALLED_SECONDS", "After how long without an answer a region's stream counts as stalled.",
            "worker of the hub", "s", 0.1, DAY_S, True,
        ),
    ] = 45.0  # fmt: skip


class PartnerSettings(msgspec.Struct, frozen=True):
    """Partners and webhooks"""

    roster: Annotated[
        str,
        AboutSetting(
            PARTNERS, "Absolute path of the file of partners; empty: there are none. `rembuk up` sets it.",
            "APIs and workers",
        ),
    ] = ""  # fmt: skip
    private: Annotated[
        str,
        AboutSetting(
            "REMBUK_WEBHOOK_PRIVATE", "`allow`: webhooks may lead to private addresses, too.", "workers",
            handed_on=True, words=("allow",),
        ),
    ] = ""  # fmt: skip

    @property
    def private_webhooks(self) -> bool:
        return self.private == "allow"


class WitnessSettings(msgspec.Struct, frozen=True):
    """Tree heads and witnesses"""

    tree_head_s: Annotated[
        float,
        AboutSetting(
            "REMBUK_TREE_HEAD_SECONDS", "How often a grown log gets a new signed tree head.", "workers", "s",
            0.05, DAY_S, True,
        ),
    ] = 5.0  # fmt: skip
    witnesses: Annotated[
        str,
        AboutSetting(WITNESSES, "Absolute path of the file of those who cosign our heads.", "workers", handed_on=True),
    ] = ""
    witnessed: Annotated[
        str, AboutSetting(WITNESSED, "Absolute path of the file of logs whose heads we cosign.", "APIs", handed_on=True)
    ] = ""
    key: Annotated[
        str,
        AboutSetting(
            "REMBUK_WITNESS_KEY", "The key we cosign by, or the file or command that has it. `rembuk up` sets it.",
            "APIs",
        ),
    ] = ""  # fmt: skip


class MailSettings(msgspec.Struct, frozen=True):
    """Mail"""

    smtp_url: Annotated[
        str,
        AboutSetting(
            "REMBUK_SMTP_URL", "Mail server, `smtp://` or `smtps://user:password@host:port`; empty: none.",
            "worker of notifications", handed_on=True,
        ),
    ] = ""  # fmt: skip
    smtp_from: Annotated[
        str,
        AboutSetting(
            "REMBUK_SMTP_FROM", "Address that mails come from.", "worker of notifications", handed_on=True,
            otherwise="`rembuk@<region>.invalid`",
        ),
    ] = ""  # fmt: skip
    public_url: Annotated[
        str,
        AboutSetting(
            PUBLIC_URL, "Where readers of mails reach the API of notifications: links that end mails begin with it.",
            "worker of notifications", handed_on=True, otherwise="the API's own address, for this machine alone",
        ),
    ] = ""  # fmt: skip


class DeliverySettings(msgspec.Struct, frozen=True):
    """Deliveries"""

    attempts: Annotated[
        int,
        AboutSetting(
            "REMBUK_DELIVERY_ATTEMPTS", "How often a delivery is tried before it is given up.",
            "worker of notifications", "attempts", 1, 1000, True,
        ),
    ] = 8  # fmt: skip
    backoff_s: Annotated[
        float,
        AboutSetting(
            "REMBUK_DELIVERY_BACKOFF_S", "The pause after a first failure; each further one is four times as long.",
            "worker of notifications", "s", 0, 3600, True,
        ),
    ] = 1.0  # fmt: skip
    code_pause_s: Annotated[
        float,
        AboutSetting(
            "REMBUK_CODE_PAUSE_S", "How long a contact waits for a second code; each further pause is four times that.",
            "API and worker of notifications", "s", 0, DAY_S, True,
        ),
    ] = 60.0  # fmt: skip
    come_again_s: Annotated[
        float,
        AboutSetting(
            "REMBUK_DELIVERY_COME_AGAIN_S", "How long a mail waits that the mail server refuses for now.",
            "worker of notifications", "s", 0, DAY_S, True,
        ),
    ] = 360.0  # fmt: skip


class RetentionSettings(msgspec.Struct, frozen=True):
    """Retention"""

    reports_days: Annotated[
        int | None,
        AboutSetting(
            "REMBUK_REPORTS_RETENTION_DAYS", "For how long a reporter stays known after the end of a problem.",
            "worker of reports", "days", 1, 99_999, True, otherwise="for ever",
        ),
    ] = None  # fmt: skip
    unconfirmed_days: Annotated[
        int,
        AboutSetting(
            "REMBUK_UNCONFIRMED_DAYS", "For how long a subscription waits to be confirmed.",
            "worker of notifications", "days", 1, 99_999, True,
        ),
    ] = 7  # fmt: skip


class TracingSettings(msgspec.Struct, frozen=True):
    """Tracing (names of OpenTelemetry, whose SDK reads others, too)"""

    endpoint: Annotated[str, AboutSetting("OTEL_EXPORTER_OTLP_ENDPOINT", "Where spans go; empty: nowhere.")] = ""
    traces_endpoint: Annotated[
        str, AboutSetting("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "The same for traces alone; it goes before.")
    ] = ""
    protocol: Annotated[
        str, AboutSetting("OTEL_EXPORTER_OTLP_PROTOCOL", "How spans are sent; there is no other way.")
    ] = "http/protobuf"
    traces_protocol: Annotated[
        str, AboutSetting("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "The same for traces alone; it goes before.")
    ] = ""
    exporter: Annotated[str, AboutSetting("OTEL_TRACES_EXPORTER", "`none`: no spans.")] = ""
    disabled: Annotated[str, AboutSetting("OTEL_SDK_DISABLED", "`true`: no spans.")] = ""
    service_name: Annotated[
        str, AboutSetting("OTEL_SERVICE_NAME", "What spans name the service.", otherwise="the service's name")
    ] = ""


class Settings(msgspec.Struct, frozen=True):
    """The service and its keys"""

    region: Annotated[str, AboutSetting("REMBUK_REGION", "The region's name, a lower-case word.")]
    service: str
    database_url: Annotated[
        str, AboutSetting("REMBUK_<SERVICE>_DATABASE_URL", "The service's database, in its own role.")
    ]
    nats_url: Annotated[str, AboutSetting("REMBUK_NATS_URL", "NATS with JetStream.")] = "nats://127.0.0.1:4222"
    host: Annotated[str, AboutSetting("REMBUK_HOST", "Address where the API listens.", "APIs")] = "127.0.0.1"
    port: Annotated[
        int, AboutSetting("REMBUK_<SERVICE>_PORT", "Port where the API listens.", "APIs", "port", 1, 65_535)
    ] = 8000
    region_key: Annotated[
        str, AboutSetting("REMBUK_REGION_KEY", "The key that seals texts, or the file or command that has it.")
    ] = ""
    log_key: Annotated[
        str, AboutSetting("REMBUK_LOG_KEY", "The key that signs tree heads, or the file or command that has it.")
    ] = ""
    owner: Annotated[
        str,
        AboutSetting(
            "REMBUK_<SERVICE>_OWNER_URL", "The database in its owner's role.", "`migrate`, `rebuild`, `replay`"
        ),
    ] = ""
    hub: HubSettings = HubSettings()
    partners: PartnerSettings = PartnerSettings()
    witnessing: WitnessSettings = WitnessSettings()
    mail: MailSettings = MailSettings()
    delivery: DeliverySettings = DeliverySettings()
    keeping: RetentionSettings = RetentionSettings()
    tracing: TracingSettings = TracingSettings()

    @property
    def name(self) -> str:
        """`jatim_reports`: the database, its role, and the first part of every durable consumer's name."""
        return f"{self.region}_{self.service}"

    @property
    def owner_url(self) -> str:
        """As the owner of the database; raises MissingSetting."""
        if not self.owner:
            raise MissingSetting(f"REMBUK_{self.service.upper()}_OWNER_URL is not set")
        return self.owner

    @classmethod
    def load(cls, service: str, environment: Mapping[str, str] = os.environ) -> Settings:
        """What a process of `service` is told. Raises MissingSetting or BadSetting, a line for each fault."""
        return read_settings(cls, environment, service)


_Group = TypeVar("_Group", bound=msgspec.Struct)


def groups() -> list[type[msgspec.Struct]]:
    """All, as the page of settings shows them."""
    return [
        Settings,
        *(field.type for field in msgspec.structs.fields(Settings) if _is_group(field.type)),
        CommandSettings,
    ]


def described(group: type[msgspec.Struct]) -> Iterator[tuple[AboutSetting, msgspec.structs.FieldInfo]]:
    """Each setting of a group, without those of the groups within it."""
    for field in msgspec.structs.fields(group):
        for about in getattr(field.type, "__metadata__", ()):
            yield about, field


def handed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """What of the environment of `rembuk up` the services are told, beside what the region itself tells them. Raises
    BadSetting."""
    faults: list[CannotRun] = []
    names = set()
    for group in groups():
        for about, field in described(group):
            if about.handed_on:
                _value(about, field, about.name, environment, faults)
                names.add(about.name)
    _refuse(faults)
    return {name: value for name, value in environment.items() if name in names}


def read_settings(group: type[_Group], environment: Mapping[str, str], service: str = "") -> _Group:
    """A group with those within it. Raises MissingSetting or BadSetting, a line for each fault."""
    faults: list[CannotRun] = []
    made = _read(group, environment, service, faults)
    _refuse(faults)
    return group(**made)


def _read(
    group: type[msgspec.Struct], environment: Mapping[str, str], service: str, faults: list[CannotRun]
) -> dict[str, Any]:
    made: dict[str, Any] = {"service": service} if group is Settings else {}
    for about, field in described(group):
        made[field.name] = _value(about, field, about.name_for(service), environment, faults)
    for field in msgspec.structs.fields(group):
        if _is_group(field.type):
            within = _read(field.type, environment, service, faults)
            if not faults:
                made[field.name] = field.type(**within)
    return made


def _value(
    about: AboutSetting,
    field: msgspec.structs.FieldInfo,
    name: str,
    environment: Mapping[str, str],
    faults: list[CannotRun],
) -> Any:
    text, kind = environment.get(name), field.type.__origin__
    if not text and (text is None or field.default is not msgspec.NODEFAULT):
        if field.default is msgspec.NODEFAULT:
            faults.append(MissingSetting(f"{name} is not set"))
        return field.default
    if kind is str:
        if about.words and text not in about.words:
            faults.append(BadSetting(f"{name} is {text!r:.40}, and has to be {' or '.join(about.words)}, or empty"))
        return text
    whole = kind is int or int in get_args(kind)
    number = _number(text, whole)
    if not about.least <= number <= about.most:  # nor is it where it is not a number
        rule = f"{'a whole number' if whole else 'a number'} from {about.least:g} to {about.most:.0f}"
        faults.append(BadSetting(f"{name} is {text!r:.40}, and has to be {rule}"))
    return number


def _number(text: str, whole: bool) -> float:
    try:
        if whole:
            return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else math.nan
        return float(text) if _NUMBER.fullmatch(text) else math.nan
    except ValueError:
        return math.nan


def _refuse(faults: list[CannotRun]) -> None:
    if faults:
        raise type(faults[0])("\n".join(map(str, faults)))


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
