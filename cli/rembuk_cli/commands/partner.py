"""`rembuk partner`: other systems that may read what the region publishes: added, listed, revoked, sent it again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rembuk.broker.stream_names import stream_name
from rembuk.embedded.server import EmbeddedError
from rembuk.log.standing import last_position
from rembuk.partners import webhook_cursors
from rembuk.partners.webhook_cursors import WebhookCursor
from rembuk.settings import CannotRun

from rembuk_cli.home.directory import Home
from rembuk_cli.region.services import ask_each, require_service
from rembuk_cli.terminal.answering import group
from rembuk_cli.terminal.options import WRONG, Data, Json, RegionName, cannot_run, home_of, require_running, suggested
from rembuk_cli.terminal.writing import err, escape, out, write_json

if TYPE_CHECKING:
    from rembuk.partners.partners import Partner, Partners

app = group("Other systems that may read what the region publishes: each its scope, and nothing else.")
Name = Annotated[str, typer.Argument(help="The partner's name: lower-case letters, digits and hyphens.")]


class Nats(msgspec.Struct, frozen=True):
    """The address of the region's NATS, and the streams on which a partner has consumers of its name."""

    url: str
    streams: tuple[str, ...]


class Listed(msgspec.Struct, frozen=True, omit_defaults=True):
    """A partner without its secrets; `sent` by service, of one that has a webhook, while the region runs."""

    name: str
    services: tuple[str, ...]
    types: tuple[str, ...]
    areas: tuple[str, ...]
    added_at: datetime
    revoked_at: datetime | None = None
    webhook: str = ""
    sent: dict[str, WebhookCursor] = {}

    @property
    def is_failing(self) -> bool:
        return self.revoked_at is None and any(one.failing_since or one.stopped for one in self.sent.values())


@app.command()
def add(
    name: Name,
    service: Annotated[list[str], typer.Option(help="It may read the events of this service; repeat for more.")],
    event_type: Annotated[
        list[str] | None, typer.Option("--type", help="Only of this type: ProblemReported; repeat for more.")
    ] = None,
    area: Annotated[
        list[str] | None, typer.Option(help="Only about this area and everything below it: 35.78; repeat for more.")
    ] = None,
    webhook: Annotated[str, typer.Option(help="Where its events are sent, signed, as they happen: a URL.")] = "",
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let another system read events: by HTTP, by NATS, and by a webhook where it has one. Its secrets are shown this
    once.

    Example: rembuk partner add dinas-pu --service reports --type ProblemVerified --area 35.78
    """
    from rembuk.partners.nats_accounts import new_credentials
    from rembuk.partners.partners import BadPartner, Partner, Scope, Webhook, hashed, new_secret, new_token

    home = home_of(region, data)
    services, types, areas = (tuple(dict.fromkeys(named or ())) for named in (service, event_type, area))
    for one in services:
        require_service(one)
    _require_types(types, services)
    _require_areas(areas)
    token = new_token()
    seed, nkey = new_credentials()
    urls, nats = _urls(home, services), _nats(home, services)  # before what is shown once is anybody's
    try:
        hook = Webhook(webhook, new_secret()) if webhook else None
        scope = Scope(services, types, areas)
        partner = Partner(name, scope, hashed(token), datetime.now(UTC), nkey=nkey, webhook=hook)
        _partners(home).add(partner)
    except BadPartner as error:
        cannot_run(escape(str(error)))
    credentials = {"token": token, "nats_seed": seed} | ({"webhook_secret": hook.secret} if hook else {})
    if as_json:
        listed = msgspec.to_builtins(_listed(partner))
        write_json(msgspec.json.format(msgspec.json.encode(listed | credentials | {"urls": urls, "nats": nats})))
    else:
        out.print(f"[bold]{name}[/] may read {_scope(_listed(partner))}; this is shown once:")
        for what, secret in credentials.items():
            out.print(f"  {what.replace('_', ' ')}: {secret}")
        for url in urls.values():
            out.print(f"  curl -H 'Authorization: Bearer {token}' {url}")
        if nats is not None:
            out.print(f"  nats: {nats.url}, consumer {name} on {', '.join(nats.streams)}")
        err.print("What it can do with that: docs/integrate.md")
    _admit(home)  # at the end, for what is shown once is to be seen whether NATS takes it now or not


@app.command(name="list")
def list_(region: RegionName = "", data: Data = None, as_json: Json = False) -> None:
    """Who may read what, and up to where their webhooks were sent; exit code 1 when one of those fails.

    Example: rembuk partner list --json
    """
    home = home_of(region, data)
    sent: dict[str, dict[str, WebhookCursor]] = {}
    if (running := home.running()) is not None:
        for service, cursors in ask_each(home.running_region(running), webhook_cursors.webhook_cursors):
            for partner, cursor in cursors.items():
                sent.setdefault(partner, {})[service] = cursor
    listed = [_listed(one, sent.get(one.name, {})) for one in _partners(home).read()]
    if as_json:
        write_json(msgspec.json.format(msgspec.json.encode(listed)))
    elif not listed:
        out.print(f"nobody is a partner; add one with: {suggested('partner add')}")
    else:
        for one in listed:
            _show(one)
    if any(one.is_failing for one in listed):
        raise typer.Exit(WRONG)


@app.command()
def revoke(name: Name, region: RegionName = "", data: Data = None, as_json: Json = False) -> None:
    """Let a partner read nothing more, from now on; what it has open ends. Its name is not used again.

    Example: rembuk partner revoke dinas-pu
    """
    from rembuk.partners.partners import BadPartner

    home = home_of(region, data)
    try:
        revoked = _partners(home).revoke(name)
    except BadPartner as error:
        cannot_run(escape(str(error)))
    _admit(home)
    if as_json:
        write_json(msgspec.json.encode(_listed(revoked)))
    else:
        out.print(f"[bold]{name}[/] is no partner any more")


@app.command()
def replay(
    name: Name,
    after: Annotated[int, typer.Option(min=0, help="The last position that it keeps; 0 for everything again.")],
    service: Annotated[str, typer.Option(help="Of this service alone; of all in its scope unless named.")] = "",
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Have a partner's webhook sent what follows a position, again or for the first time; at once, even after failures.

    Example: rembuk partner replay dinas-pu --service reports --after 1200
    """
    home = home_of(region, data)
    if service:
        require_service(service)
    partner = next((one for one in _partners(home).active() if one.name == name), None)
    if partner is None or partner.webhook is None:
        cannot_run(f"no active partner named {escape(name)} has a webhook")
    services = [one for one in partner.scope.services if service in ("", one)]
    if not services:
        cannot_run(f"{name} reads {', '.join(partner.scope.services)}, not {service}")
    running = home.running_region(require_running(home))
    for one, head in ask_each(running, last_position, services):
        if after > head:
            cannot_run(f"the last position of {one} is {head:,}, which {after:,} is beyond; nothing was changed")
    for one, head in ask_each(running, partial(webhook_cursors.set_back, partner=name, position=after), services):
        if as_json:
            write_json(msgspec.json.encode({"service": one, "after": after, "head": head}))
        else:
            out.print(f"{one}: {name} is sent its part of the positions {after + 1:,} to {head:,}, and what comes")


def _partners(home: Home) -> Partners:
    from rembuk.partners.partners import Partners

    if not home.data.is_dir():
        cannot_run(f"no region lies in {home.data}; start one with: {suggested('up')}")
    return Partners(home.partners)


def _admit(home: Home) -> None:
    """Have NATS know who is a partner now; for one that is not ours, write what it is to include."""
    try:
        ours = home.admit_partners()
    except (EmbeddedError, CannotRun) as error:
        cannot_run(
            f"the list is changed, and NATS does not take it, so it knows whom it knew before: {escape(str(error))}; "
            f"when that is mended, it hears of it with the next change, or by: {suggested('down')}, {suggested('up')}"
        )
    running = home.running()
    if running is None:
        err.print("NATS hears of it when the region runs")
    elif not ours:
        files = " and ".join(home.include_partners(running.region))
        err.print(f"for a nats-server of your own: let it include {files} (docs/integrate-nats.md), reload it twice")


def _require_types(types: Sequence[str], services: Sequence[str]) -> None:
    """Ends the command for a type that none of the services publishes."""
    known = {name for one in services for name in import_module(f"rembuk.contracts.{one}").CODEC.types}
    for name in types:
        if name not in known:
            cannot_run(f"type {escape(name)}: {', '.join(services)} publish only {', '.join(sorted(known))}")


def _require_areas(codes: Sequence[str]) -> None:
    """Ends the command for an area that there is not."""
    from rembuk.areas.former import unknown_area
    from rembuk.areas.lookup import areas

    for code in codes:
        if code not in areas():
            cannot_run(f"--area {escape(code)}: {escape(unknown_area(code))}")


def _urls(home: Home, services: Sequence[str]) -> dict[str, str]:
    """Where its events are, as far as the region was ever started."""
    noted = home.noted()
    return {one: f"{noted.urls[one]}/v1/events" for one in services} if noted is not None else {}


def _nats(home: Home, services: Sequence[str]) -> Nats | None:
    """Where it reads them by NATS, as far as the region was ever started."""

    noted = home.noted()
    if noted is None:
        return None
    return Nats(noted.nats_url, tuple(stream_name(noted.region, one) for one in services))


def _listed(partner: Partner, sent: dict[str, WebhookCursor] | None = None) -> Listed:
    scope, hook = partner.scope, partner.webhook
    return Listed(
        partner.name, scope.services, scope.types, scope.areas, partner.added_at, partner.revoked_at,
        hook.url if hook else "", {one: told for one, told in (sent or {}).items() if one in scope.services},
    )  # fmt: skip


def _scope(one: Listed) -> str:
    """In words: `ProblemVerified of reports about 35.78`."""
    about = f" about {', '.join(one.areas)}" if one.areas else ""
    return f"{', '.join(one.types) or 'everything'} of {', '.join(one.services)}{about}"


def _show(one: Listed) -> None:
    if one.revoked_at is not None:
        out.print(f"[dim]{one.name}[/] revoked {one.revoked_at.astimezone():%Y-%m-%d %H:%M}")
        return
    out.print(f"[bold]{one.name}[/] {_scope(one)}, since {one.added_at.astimezone():%Y-%m-%d %H:%M}")
    if one.webhook:
        out.print(f"    {escape(one.webhook)}")
    for service, sent in one.sent.items():
        how = f"[red]is sent no more: {escape(sent.failure)}[/]" if sent.stopped else ""
        if sent.failing_since and not sent.stopped:
            since = f"{sent.failing_since.astimezone():%Y-%m-%d %H:%M}"
            how = f"[red]fails since {since}, {sent.attempts} times: {escape(sent.failure)}[/]"
        out.print(f"    {service} sent up to {sent.position:,} {how}")
