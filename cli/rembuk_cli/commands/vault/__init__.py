"""`rembuk vault`: the region's key, and the keys of persons that it wraps."""

from __future__ import annotations

from rembuk_cli.commands.vault.lost_keys import missing, put_back, write_off
from rembuk_cli.commands.vault.region_keys import id_, rotate, status
from rembuk_cli.terminal.answering import group

app = group("The region's key, and the keys of persons that it wraps.")
app.command()(missing)
app.command("put-back")(put_back)
app.command("write-off")(write_off)
app.command()(status)
app.command()(rotate)
app.command("id")(id_)
