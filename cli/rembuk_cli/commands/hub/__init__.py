"""`rembuk hub`: run the hub that regions join, admit regions and turn them away."""

from __future__ import annotations

from rembuk_cli.commands.hub.nats import nats
from rembuk_cli.commands.hub.regions import admit, regions, revoke
from rembuk_cli.commands.hub.running import down, status, up
from rembuk_cli.terminal.answering import group

app = group("The hub: where the streams of all regions come together.")
app.command()(nats)
app.command()(up)
app.command()(down)
app.command()(admit)
app.command()(revoke)
app.command()(regions)
app.command()(status)
