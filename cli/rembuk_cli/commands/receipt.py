"""`rembuk receipt`: the proof that a report is kept; fetched from a region, verified by anybody, offline."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from rembuk_cli.region.naming import id_named
from rembuk_cli.terminal.answering import group
from rembuk_cli.terminal.options import WRONG, Data, Json, RegionName, cannot_run, home_of, require_running
from rembuk_cli.terminal.writing import err, escape, out, write, write_json

if TYPE_CHECKING:
    from rembuk.proof.signed_note import Verifier

    from rembuk_cli.region.verdict import Judged

PATIENCE_S = 30.0
"""How long a receipt is waited for: tree heads are signed every few seconds."""

LONGEST = 2**24
"""Bytes of a file that are read: no receipt, no key and no event is longer."""

app = group("The proof that a report is kept: fetch it, verify it offline.")


@app.command()
def verify(
    files: Annotated[list[Path], typer.Argument(help="Receipts and promises, or the text of a receipt's QR code.")],
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="A key that you trust: of a log or a witness, or a file of such keys."),
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="The event's data, or it as a CloudEvent.")] = None,
    as_json: Json = False,
) -> None:
    """Verify receipts and promises, offline: PROVEN, of which event and under which key, or NOT PROVEN, and why.

    The exit code is 0 where all are proven, else 1: also without --key (the key that a file names itself, anybody could
    have written there), and for two files that contradict each other (a broken promise).

    Example: rembuk receipt verify JATIM-000123.tlog-proof --key 'polmas/jatim/reports+5e1c3f0a+AZx...'
    """
    from rembuk.proof.receipt import contradictions

    from rembuk_cli.region.verdict import in_words

    trusted = [one for text in key or () for one in _keys(text)]
    content = None if data is None else _read(data)
    files_judged = [_judge(file, trusted, content) for file in files]
    found = contradictions([one.proven for one in files_judged if one.proven is not None])
    if as_json:
        answer = {"files": files_judged, "contradictions": found}
        write_json(msgspec.json.format(msgspec.json.encode(answer)))
    else:
        for one in files_judged:
            verdict, *rest = in_words(one)
            colour = "green" if one.verdict == "PROVEN" else "red"
            out.print(f"[bold {colour}]{one.verdict}[/] {escape(verdict)}")
            for line in rest:
                out.print(f"  {escape(line)}")
        for why in found:
            out.print(f"[bold red]CONTRADICTION:[/] {escape(why)}")
    if found or any(one.verdict == "NOT PROVEN" for one in files_judged):
        raise typer.Exit(WRONG)


@app.command()
def get(
    report: Annotated[str, typer.Argument(help="A problem's id, or its reference: JATIM-000123.")],
    to: Annotated[
        Path | None, typer.Option("--out", help="Write it to this file; without it, it is printed.", dir_okay=False)
    ] = None,
    region: RegionName = "",
    data: Data = None,
) -> None:
    """Fetch the receipt of a report from a running region; one that was just made is waited for.

    Example: rembuk receipt get JATIM-000123 --out JATIM-000123.tlog-proof
    """
    home = home_of(region, data)
    running = require_running(home)
    problem = id_named(home.running_region(running), report)
    with err.status("waiting for the next tree head"):
        receipt = _fetched(f"{running.urls['reports']}/v1/problems/{problem}/receipt")
    if to is None:
        write(receipt)
    else:
        to.write_text(receipt)


@app.command()
def keys(region: RegionName = "", data: Data = None) -> None:
    """The verifier keys of a running region's logs, one a line. Publish them where residents will believe them.

    Example: rembuk receipt keys > keys
    """
    for url in require_running(home_of(region, data)).urls.values():
        write(_fetched(f"{url}/v1/log/keys"))


def _keys(text: str) -> list[Verifier]:
    from rembuk.proof.cosignature import verifiers
    from rembuk.proof.signed_note import BadVerifierKey

    try:
        found = verifiers(_read(Path(text)).decode() if "+" not in text or Path(text).exists() else text)
    except (BadVerifierKey, UnicodeDecodeError) as error:
        cannot_run(escape(f"--key: {error}"))
    return found or cannot_run(escape(f"--key: {text} holds no key"))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(LONGEST)
    except OSError as error:
        cannot_run(escape(f"{path} cannot be read: {error.strerror}"))


def _judge(file: Path, trusted: list[Verifier], data: bytes | None) -> Judged:
    from rembuk.proof.receipt import BadReceipt, proven, require_data

    from rembuk_cli.region.verdict import Judged, judged

    try:
        found = proven(_read(file).decode(), trusted)
        if data is not None:
            require_data(found.event, data)
    except (BadReceipt, UnicodeDecodeError) as error:
        return Judged(str(file), "NOT PROVEN", why=str(error))
    return judged(str(file), found, data is not None)


def _fetched(url: str) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - our own region's
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            said = error.read().decode(errors="replace")
            if error.code != 409 or time.monotonic() > deadline:
                cannot_run(escape(f"{url}: {error.code} {said}"))
            time.sleep(1)
        except OSError as error:
            cannot_run(escape(f"{url}: {error}"))
