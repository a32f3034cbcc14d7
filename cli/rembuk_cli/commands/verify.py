"""`rembuk verify`: is the log what was signed, the stream what the log holds, each read model what the log comes to?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, assert_never

import msgspec
import typer
from rembuk.federation.hub_regions import DOMAIN
from rembuk.operations.steps import (
    Compared,
    LeftBeside,
    MirrorVerified,
    Rebuilding,
    RebuildStep,
    RowDifference,
    Skipped,
    Swapped,
    UnderWay,
    VerificationStep,
    Verified,
    Verifying,
    Wrong,
)
from rembuk.postgres.provisioning import SERVICES

from rembuk_cli.home.directory import Home
from rembuk_cli.region.differences import show_comparison
from rembuk_cli.region.services import answers, require_service, side_by_side, watched
from rembuk_cli.terminal.options import (
    CANNOT_RUN,
    WRONG,
    Data,
    Json,
    RegionName,
    cannot_run,
    home_of,
    region_or_hub,
    require_running,
    suggested,
)
from rembuk_cli.terminal.unable import Unable
from rembuk_cli.terminal.writing import err, escape, escape_lines, out, write_answer

RUNBOOK = "docs/runbook.md, “Was anything altered?”"


def verify(
    service: Annotated[
        str, typer.Argument(help="reports, forums or notifications, all of them without; or hub, where it runs.")
    ] = "",
    keys: Annotated[
        Path | None,
        typer.Option("--keys", help="The logs' verifier keys, a line each, instead of those of the region's log.key."),
    ] = None,
    region: RegionName = "",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Hold each log, event by event, against its signed tree heads and its stream, each read model against a replay.

    At the hub, each mirror against the last tree head of its log that the hub has cosigned.

    Harmless while all of it runs. Events that somebody had a follower skip are listed with his reason. Exit code 1
    when something is not as it was recorded, and where; 2 when a service could not be looked at, and nothing was found.

    Example: rembuk verify reports
    """
    if service not in ("", DOMAIN):
        require_service(service)
    home = region_or_hub(DOMAIN, data) if service == DOMAIN else home_of(region, data)
    seen = home.running_region(require_running(home))
    region = seen.name
    if home.region_key.exists():  # else it is only seen whether there is a key of each person
        seen = msgspec.structs.replace(seen, region_key=str(home.region_key.absolute()))
    wrong, unseen = 0, False
    for one in [service] if service else SERVICES:
        verifiers = [] if service == DOMAIN else _verifiers(keys, home, region, one)
        try:
            steps: Iterator[VerificationStep | RebuildStep] = side_by_side(
                answers(VerificationStep, seen, one, "verify", *verifiers),
                answers(RebuildStep, seen, one, "rebuild", "compare"),
            )
            for step in watched(steps, _what):
                if as_json:
                    write_answer(step, service=one)
                else:
                    _show(one, step)
                match step:
                    case Wrong():
                        wrong += 1
                    case Compared():
                        wrong += step.differences
        except Unable as error:  # the other services are looked at all the same
            err.print(escape_lines(str(error)))
            unseen = True
    if wrong:
        err.print(f"what to do: {RUNBOOK}")
        raise typer.Exit(WRONG)
    if unseen:
        raise typer.Exit(CANNOT_RUN)


def _verifiers(keys: Path | None, home: Home, region: str, service: str) -> list[str]:
    """The verifier keys of a log: given, or those of the keys that the region signs with."""
    from rembuk.keys.key_setting import BadKey, read_keys
    from rembuk.proof.signed_note import BadVerifierKey, Signer, Verifier
    from rembuk.transparency.tree import origin

    name = origin(region, service)
    try:
        if keys is None:
            return [str(Signer(name, key).verifier) for key in read_keys(str(home.log_key), "the log's key")]
        given = [Verifier.of(line) for line in keys.read_text().split() if line]
    except BadKey as error:
        cannot_run(f"{escape(str(error))}; put it back, or give the logs' verifier keys by --keys FILE")
    except OSError as error:
        cannot_run(escape(f"{keys} cannot be read: {error.strerror}"))
    except (UnicodeDecodeError, BadVerifierKey) as error:
        cannot_run(escape(f"{keys}: {error}"))
    if not (ours := [str(verifier) for verifier in given if verifier.name == name]):
        cannot_run(escape(f"{keys} has no key of {name}, but of {', '.join(one.name for one in given) or 'nobody'}"))
    return ours


def _what(step: UnderWay) -> str:
    return f"read models of {step.stream}" if isinstance(step, Rebuilding) else "log and stream"


def _show(service: str, step: VerificationStep | RebuildStep) -> None:
    match step:
        case Wrong(what=what, said=said, position=position):
            at = f", position {position:,}" if position else ""
            out.print(f"[red]{service} {what}{at}[/]: {escape(said)}")
        case Skipped(position=position):
            follower, at = escape(f"{step.follower} of {step.stream}"), msgspec.to_builtins(step.skipped_at)
            out.print(
                f"[yellow]{service} {follower}, position {position:,}[/]: "
                + escape(f"{step.type} is skipped: “{step.why}”, {step.by_whom}, {at}")
            )
        case Verified():
            if step.wrong:
                out.print(f"[red]{service}: {step.wrong:,} found in {step.events:,} events[/]")
                return
            out.print(
                f"[bold]{service}[/]: {step.events:,} events, none missing; {step.signed:,} signed ({step.heads:,} "
                f"heads), {step.published:,} in the stream: [green]unaltered[/]"
            )
            if step.lost:
                out.print(f"    of {step.lost:,} persons the key was lost and written off: nobody can open their data")
        case MirrorVerified(cosigned=cosigned):
            covers = "no head of it was cosigned" if cosigned is None else f"{cosigned:,} of them cosigned"
            out.print(f"[bold]{step.stream}[/]: {step.events:,} events, {covers}")
        case Compared() | RowDifference():
            show_comparison(step)
            if isinstance(step, Compared) and step.differences:
                out.print(f"    made anew by: {suggested(f'rebuild {service}')}")
        case Verifying() | Rebuilding() | Swapped() | LeftBeside():
            pass  # a bar shows how far it is, and a comparison swaps nothing in
        case _:
            assert_never(step)
