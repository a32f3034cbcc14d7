"""The runbook is a promise to whoever is on call: each disaster is brought about, and its commands are run.

One region lives through all of it, in the order of the page: people report, are subscribed and told all along, and what
was recorded before is there afterwards, at its position, while nobody hears anything twice.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import msgspec
import nats
import pytest
from rembuk.broker import streams
from rembuk.broker.stream_names import subject_prefix
from rembuk.postgres.provisioning import SERVICES
from rembuk.testing.asking import asked
from rembuk.testing.documents import run, sections
from rembuk.testing.ports import free_ports
from rembuk.testing.receivers import Sink, only, sink
from rembuk.testing.services import eventually
from rembuk_cli.home.directory import Home

__all__ = ["sink"]

pytestmark = [pytest.mark.drills, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/runbook.md").read_text()
RUNBOOK = sections(PAGE)
VILLAGE, PATH = "35.78.08.1004", "/runbook"
REPORT = {"area": VILLAGE, "category": "theft", "title": "Motor hilang", "description": "Di depan rumah."}
_LOG = """select position, id, stream_id, version, type, schema_version, area, data::text, recorded_at
          from log.event order by position"""
AWAY = (AssertionError, OSError, httpx.HTTPError, asyncpg.PostgresError)

Log = list[tuple[Any, ...]]


class OnCall:
    """Somebody with the runbook, and the region it is about."""

    def __init__(self, folder: Path, sink: Sink) -> None:
        self.folder, self.sink = folder, sink
        self.base, self.hub, self.leaf = free_ports(10), free_ports(10), free_ports()
        self.home = Home(folder / ".rembuk/jatim")
        self.aggregate = self.problem = self.service = self.persons_lost = ""
        self.erased: list[Any] = []
        self.had_keys: set[str] = set()

    def type(self, command: str) -> str:
        """What it says on both streams, once it has ended well."""
        done = run(self.folder, command, self.base, REMBUK_WEBHOOK_PRIVATE="allow", AGGREGATE=self.aggregate,
                   PROBLEM=self.problem, SERVICE=self.service, PERSONS=self.persons_lost,
                   REMBUK_HUB_PORT_BASE=str(self.hub),
                   REMBUK_HUB_LISTEN=f"127.0.0.1:{self.leaf}")  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout + done.stderr

    def follow(self, heading: str) -> list[str]:
        """What each command under a heading of the runbook says."""
        return [self.type(command) for command in RUNBOOK[heading]]

    def have_a_backup(self) -> None:
        """Whether or not the test that makes one ran before."""
        if not (self.folder / "backup").exists():
            self.follow("Before anything happens: back up")

    def newest(self) -> str:
        """The name of the last backup."""
        return (self.folder / "backup/newest").readlink().name

    def looked_at(self, command: str) -> str:
        """What a command says that ends with a look: all is well, but for keys that no backup has."""
        done = run(self.folder, command, self.base)
        wrong = "the key is missing, and no erasure says so"
        assert done.returncode == 0 or (self.lost_keys() and wrong in done.stdout), done.stdout + done.stderr
        return done.stdout

    def refused(self, command: str) -> str:
        """What it says when it cannot run."""
        done = run(self.folder, command, self.base)
        assert done.returncode == 2, done.stdout + done.stderr
        return done.stderr

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.base + 1 + SERVICES.index(service)}"

    def post(self, service: str, path: str, body: Any) -> dict[str, Any]:
        answer: dict[str, Any] = httpx.post(self.url(service) + path, json=body, timeout=30).raise_for_status().json()
        return answer

    def ask(self, service: str, query: str, *arguments: Any) -> list[asyncpg.Record]:
        """The answer of a service's database, asked as its owner."""
        running = self.home.running()
        assert running is not None
        url = self.home.running_region(running).database(service).owner_url
        return asked(url, query, *arguments)

    def subscribe(self) -> None:
        """A webhook that is told of the village; its address is sealed."""
        wish = {"area": VILLAGE, "channel": "webhook", "contact": self.sink.url + PATH}
        subscription = self.post("notifications", "/v1/subscriptions", wish)["id"]
        code = eventually(lambda: only(self.sink.at(PATH, "subscription.confirm")).json["data"]["code"], 40)
        self.post("notifications", f"/v1/subscriptions/{subscription}/confirm", {"code": code})

    def report_and_be_told(self) -> int:
        """A problem is reported, and the subscriber hears of it; its position."""
        before = len(self.sink.at(PATH))
        position: int = self.post("reports", "/v1/problems", REPORT)["position"]

        def told() -> None:
            assert len(self.sink.at(PATH)) == before + 1

        eventually(told, 40)
        self.well()
        return position

    def persons_with_keys(self) -> set[str]:
        return {str(row["person"]) for row in self.ask("reports", "select person from vault_key")}

    def lost_keys(self) -> set[str]:
        """Whose keys were lost since: made after the backup that was restored."""
        return self.had_keys - self.persons_with_keys() - {str(person) for person in self.erased}

    def logs(self) -> dict[str, Log]:
        """What each log says; from now on it is known whose keys there were."""
        self.had_keys |= self.persons_with_keys()
        return {service: [tuple(row) for row in self.ask(service, _LOG)] for service in SERVICES}

    def well(self) -> None:
        """All is well, and nothing is under way; but for keys that no backup has, which `status` tells."""

        def well() -> None:
            standing = run(self.folder, ".venv/bin/rembuk status --json", self.base)
            wrong = json.loads(standing.stdout)["wrong"] if standing.stdout else None
            if wrong and self.lost_keys():
                assert [line for line in wrong if "the key is missing, and no erasure says so" not in line] == []
            else:
                assert standing.returncode == 0, standing.stdout
            assert set(re.findall(r'"behind": ?(\d+)', standing.stdout)) == {"0"}
            due = "select count(*) from delivery where state in ('queued', 'failed')"
            assert self.ask("notifications", due)[0]["count"] == 0

        eventually(well, 60)

    def goes_on_from(self, before: dict[str, Log]) -> None:
        """Each log is what it was, but that a region with a hub, and another vault than before, introduces itself."""
        now = self.logs()
        assert {service: log[: len(before[service])] for service, log in now.items()} == before
        new = {event[4] for service, log in now.items() for event in log[len(before[service]) :]}
        assert new <= ({"RegionIntroduced"} if self.home.membership.invitation() else set())

    def has_all_of(self, before: dict[str, Log]) -> None:
        """Every event of before is there, nobody heard anything twice, and the region goes on at the next position."""
        self.well()
        self.goes_on_from(before)
        eventually(self.erased_stay_so)
        heard = Counter(posted.id for posted in self.sink.at(PATH))
        assert set(heard.values()) == {1}
        last = self.report_and_be_told()
        new = self.logs()["reports"][len(before["reports"]) :]
        assert [event[0] for event in new if event[4] != "RegionIntroduced"] == [last]
        assert last == len(before["reports"]) + 1 or self.home.membership.invitation()
        skipped = {row["position"] for row in self.ask("reports", "select position from skipped")}
        reports = [event for event in self.logs()["reports"] if event[4] == "ProblemReported"]
        shown = {row["id"] for row in self.ask("reports", "select id from problem")}
        assert shown == {event[2] for event in reports if event[0] not in skipped}

    @contextmanager
    def with_a_hub(self, invitation: str) -> Iterator[None]:
        """The region joins a hub, gone again afterwards: a test that fails leaves none to the next."""
        self.type(f".venv/bin/rembuk hub up --detach; .venv/bin/rembuk hub admit jatim --to {invitation}")
        try:
            self.type(f".venv/bin/rembuk down; .venv/bin/rembuk up --hub {invitation} --detach")
            yield
        finally:
            self.type(".venv/bin/rembuk down; .venv/bin/rembuk up --hub none --detach")
            self.type(".venv/bin/rembuk hub revoke jatim; .venv/bin/rembuk hub down")

    def known_to_hub(self) -> None:
        """The hub comes to have and show every event, and no other."""

        def known() -> None:
            [told] = httpx.get(f"http://127.0.0.1:{self.hub + 1}/v1/regions").raise_for_status().json()
            shown = {one["service"]: (one["state"], one["shown"]) for one in told["streams"]}
            assert shown == {service: ("level", len(log)) for service, log in self.logs().items()}

        eventually(known, 90)

    def persons(self) -> list[Any]:
        """Whose keys there are of the problem."""
        query = "select person from vault_key where person in (select texts_of from problem where id = $1)"
        return [row["person"] for row in self.ask("reports", query, self.problem)]

    def erased_stay_so(self) -> None:
        assert self.ask("reports", "select 1 from vault_key where person = any($1)", self.erased) == []


@pytest.fixture(scope="module")
def on_call(tmp_path_factory: pytest.TempPathFactory, sink: Sink) -> Iterator[OnCall]:
    """A region with a subscriber and some life in it."""
    folder = tmp_path_factory.mktemp("runbook")
    for name in (".venv", "deploy"):
        (folder / name).symlink_to(ROOT / name)
    on_call = OnCall(folder, sink)
    on_call.type(".venv/bin/rembuk up --detach")
    on_call.subscribe()
    on_call.type(".venv/bin/rembuk simulate --problems 40 --seed 5")
    on_call.report_and_be_told()
    reported = on_call.post("reports", "/v1/problems", REPORT)
    on_call.problem = reported["id"]
    (folder / "promise").write_text(reported["promise"])
    yield on_call
    on_call.type(".venv/bin/rembuk down")
    shutil.rmtree(folder, ignore_errors=True)


def led_by(said: str) -> str:
    """The part of the page that its index leads to from what one sees: by the first line that fits."""
    _, _, index = PAGE.partition("### What do you see?\n")
    for line in index.partition("\n## ")[0].splitlines():
        if line.startswith("| ") and "](#" in line:
            _, seen, _, then, _ = line.split("|")
            for quoted in re.findall("`([^`]*)`", seen):
                if quoted not in ("status", "logs") and re.search(re.escape(quoted).replace("9", "[0-9,]+"), said):
                    return re.findall(r"\[(.*?)\]\(#", then)[0]
    raise AssertionError(f"nothing of this is in the index: {said}")


def test_every_part_of_the_page_is_run_by_a_test() -> None:
    tests = Path(__file__).read_text()
    assert [heading for heading in RUNBOOK if f'"{heading}"' not in tests] == []


def test_no_command_of_the_page_deletes() -> None:
    """Whoever has made the wrong diagnosis can go back: `rembuk aside` moves, and what is damaged is renamed."""
    deletes = re.compile(r"(^|[;&|(\s])(rm|unlink|shred|truncate|dd)\s", re.MULTILINE)
    assert deletes.search("if test -e a; then rm -rf a; fi")
    assert [command for part in RUNBOOK.values() for command in part if deletes.search(command)] == []


def test_looking_and_backing_up(on_call: OnCall) -> None:
    assert "all is well" in on_call.follow("First of all: look")[0]
    on_call.follow("Before anything happens: back up")
    events = sum(map(len, on_call.logs().values()))
    told = on_call.type("cat backup/*/*.ndjson | wc -l")
    assert int(told) == events
    on_call.type("mkdir backup/.unfinished.killed; touch -d '2 days ago' backup/.unfinished.killed")
    before = on_call.type("readlink backup/newest; touch -d '40 days ago' backup/20*")
    on_call.follow("Before anything happens: back up")
    assert on_call.type("readlink backup/newest; ls -d backup/20*").split() == [
        newest := on_call.newest(),
        f"backup/{newest}",
    ]
    assert newest > before
    assert on_call.type("find backup -name '.unfinished.*'") == ""
    on_call.report_and_be_told()  # more than the backups hold


def test_who_was_shown_what_is_told(on_call: OnCall) -> None:
    opening = {"fields": ["description"], "reason": "Laporan dipelajari", "by": "officer:4711"}
    shown = on_call.post("reports", f"/v1/problems/{on_call.problem}/open", opening)
    assert shown["items"][0]["value"] == REPORT["description"]
    [told] = on_call.follow("Who was shown what is sealed?")
    assert f'"aggregate":"{on_call.problem}"' in told.replace(" ", "")
    assert "officer:4711" in told
    assert REPORT["description"] not in told


def test_who_is_forgotten_is_so_although_a_backup_has_the_key(on_call: OnCall) -> None:
    on_call.erased = on_call.persons()
    assert len(on_call.erased) == 1
    [told] = on_call.follow("Somebody wants to be forgotten")
    assert f"{on_call.erased[0]} is erased" in told
    assert on_call.persons() == []
    dump = "pg_restore --data-only --table vault_key --file - backup/newest/reports.dump"
    assert str(on_call.erased[0]) in on_call.type(f'eval "$(.venv/bin/rembuk env)"; {dump}')
    shown = httpx.get(f"{on_call.url('reports')}/v1/problems/{on_call.problem}").json()
    assert (shown["title"], shown["description"], shown["erased"]) == ("Motor hilang", None, True)


def test_whatever_is_alerting_there_is_something_to_look_at(on_call: OnCall) -> None:
    metrics, logs, postgres, *_ = on_call.follow("Something is alerting")
    assert "rembuk_database_up" in metrics
    assert "rembuk_relay_lag_seconds" in metrics
    assert "region is ready" in logs
    assert "accepting connections" in postgres


def test_a_lost_postgres_comes_back_from_a_backup_and_its_stream(on_call: OnCall) -> None:
    heading = "PostgreSQL's disk is gone, and there is a base backup"
    on_call.have_a_backup()
    before = on_call.logs()
    shutil.rmtree(on_call.home.data / "postgres/cluster")  # while it runs
    looked = run(on_call.folder, ".venv/bin/rembuk status", on_call.base)
    assert (looked.returncode, led_by(looked.stdout)) == (1, heading)
    on_call.type(RUNBOOK[heading][0])
    on_call.has_all_of(before)


def test_a_lost_postgres_comes_back_from_dumps_and_its_stream(on_call: OnCall) -> None:
    on_call.have_a_backup()
    before = on_call.logs()
    on_call.type(".venv/bin/rembuk down")
    shutil.rmtree(on_call.home.data / "postgres")
    told = on_call.refused(".venv/bin/rembuk up --detach")
    assert "no empty one is begun in its place" in told
    assert led_by(told).startswith("PostgreSQL's disk is gone")
    on_call.type(RUNBOOK["PostgreSQL's disk is gone, and there are dumps"][0])
    on_call.has_all_of(before)


def test_a_lost_nats_is_filled_again(on_call: OnCall) -> None:
    before = on_call.logs()
    [told] = on_call.follow("NATS's disk is gone")
    assert told.count("the stream is the log") == 3
    on_call.has_all_of(before)


def test_a_stream_that_somebody_wrote_to_is_published_anew(on_call: OnCall) -> None:
    running = on_call.home.running()
    assert running is not None
    before = on_call.logs()

    async def forge() -> None:
        client = await nats.connect(on_call.home.running_region(running).nats_url)
        await client.jetstream().publish(f"{subject_prefix('jatim', 'reports')}.Nonsense.35.78.08", b"{}")
        await client.close()

    asyncio.run(forge())
    looked, mended = on_call.follow("The stream is not the log")
    assert "reconcile reports --anew" in looked
    assert "the stream is the log" in mended
    on_call.has_all_of(before)


def test_a_missing_region_key_is_put_back(on_call: OnCall) -> None:
    before = on_call.logs()
    on_call.type(".venv/bin/rembuk down")
    on_call.home.region_key.unlink()
    told = on_call.refused(".venv/bin/rembuk up --detach")
    assert "region.key is missing, and data of" in told
    assert led_by(told) == "The region's key is missing"
    assert f"opened by {on_call.folder.resolve()}/elsewhere/region.key" in told
    assert not on_call.home.region_key.exists()
    assert "Nothing is destroyed" in on_call.refused(".venv/bin/rembuk up --detach --new-region-key")
    put_back, _ = RUNBOOK["The region's key is missing"]
    on_call.type(put_back)
    on_call.has_all_of(before)


def test_a_password_that_was_emptied_opens_nothing_and_is_made_anew(on_call: OnCall) -> None:
    before = on_call.logs()
    on_call.type(".venv/bin/rembuk down")
    (on_call.home.data / "nats-password").write_text("")
    told = on_call.refused(".venv/bin/rembuk up --detach")
    assert "nats-password is damaged" in told
    assert led_by(told) == "A file of the region is damaged"
    on_call.follow("A file of the region is damaged")
    on_call.has_all_of(before)


def test_an_altered_event_is_found_and_comes_back_as_it_was(on_call: OnCall) -> None:
    before = on_call.logs()
    on_call.well()
    eventually(lambda: signed(on_call), 40)
    [told] = on_call.follow("Was anything altered?")
    assert told.count("unaltered") == (2 if on_call.lost_keys() else 3)
    on_call.ask("reports", "alter table log.event disable trigger append_only")
    on_call.ask("reports", "update log.event set data = '{}' where position = 5")
    [told] = on_call.follow("Was anything altered?")
    assert "reports log, position 5: is not what was signed" in told
    assert "reports stream, position 5: has other data" in told
    on_call.follow("PostgreSQL's disk is gone, and there are dumps")
    on_call.has_all_of(before)
    eventually(lambda: signed(on_call), 40)
    [told] = on_call.follow("Was anything altered?")
    assert told.count("unaltered") == (2 if on_call.lost_keys() else 3)


def signed(on_call: OnCall) -> None:
    for service in SERVICES:
        [row] = on_call.ask(
            service, "select position as log, (select max(size) from log.tree_head) as tree from log.head"
        )
        assert row["log"] == (row["tree"] or 0)


def test_a_wrong_read_model_is_made_anew(on_call: OnCall) -> None:
    before = on_call.logs()
    on_call.well()
    on_call.ask("reports", "update problem set title = 'Altered by hand' where position = 1")
    [told] = on_call.follow("A read model shows something wrong")
    assert "Altered by hand" in told
    assert on_call.ask("reports", "select 1 from problem where title = 'Altered by hand'") == []
    on_call.has_all_of(before)


def test_an_event_in_quarantine_is_tried_again_or_skipped(on_call: OnCall) -> None:
    look, retry, skip = RUNBOOK["An event is in quarantine"]
    for mend, told in ((retry, "level again"), (skip, "is skipped")):
        on_call.well()
        on_call.aggregate = set_aside(on_call)
        assert "it was too new" in on_call.type(look)
        assert told in on_call.type(mend)
        on_call.well()


def set_aside(on_call: OnCall) -> str:
    """The last event of the last problem, as if its projection had failed on it."""
    [event] = on_call.ask("reports", "select * from log.event order by position desc limit 1")
    headers = streams.LoggedMessage("jatim", "reports", event).headers
    on_call.ask(
        "reports",
        """insert into quarantine (follower, stream, position, stream_id, type, error, headers, data)
           values ('projection', 'JATIM_REPORTS', $1, $2, $3, 'KeyError: it was too new', $4, $5)""",
        event["position"], str(event["stream_id"]), event["type"], msgspec.json.encode(headers).decode(),
        event["data"].encode(),
    )  # fmt: skip
    on_call.ask("reports", "delete from problem where id = $1", event["stream_id"])
    return str(event["stream_id"])


def test_both_disks_come_back_from_an_export(on_call: OnCall) -> None:
    """Everything since is lost: so it is made the very last night before."""
    *_, export = RUNBOOK["Before anything happens: back up"]
    on_call.well()
    on_call.have_a_backup()
    on_call.type(export)
    before = on_call.logs()
    on_call.follow("Both disks are gone, and there is an export")
    on_call.has_all_of(before)


def test_both_disks_come_back_from_the_hub_and_it_goes_on_with_the_region(on_call: OnCall) -> None:
    on_call.have_a_backup()
    with on_call.with_a_hub("jatim.hub.json"):
        on_call.report_and_be_told()
        on_call.known_to_hub()  # by its last look it may be level with what the region had then
        before = on_call.logs()
        on_call.follow("Both disks are gone, and there is a hub")
        on_call.has_all_of(before)
        on_call.known_to_hub()
        on_call.type(".venv/bin/rembuk hub status")


def test_others_are_watched_over_and_watch_over_us(on_call: OnCall) -> None:
    """Here it is our own services that a witness of ours watches over."""
    watch, be_watched = RUNBOOK["Other regions watch over the log"]
    theirs = on_call.folder / "theirs"
    theirs.mkdir()
    shutil.copy(on_call.folder / "elsewhere/keys", theirs / "logs")
    key = on_call.type(watch).splitlines()[-1]
    (theirs / "witnesses").write_text(f"{on_call.url('reports')}/v1/witness {key}\n")
    on_call.looked_at(be_watched)
    on_call.post("reports", "/v1/problems", REPORT)

    def cosigned() -> None:
        for service in SERVICES:
            [row] = on_call.ask(
                service, "select size, (select coalesce(max(size), 0) from log.tree_head) as last from witness"
            )
            assert row["size"] == row["last"]

    eventually(cosigned, 40)
    assert "polmas/jatim/reports/witness" in on_call.looked_at(".venv/bin/rembuk status")
    on_call.type(".venv/bin/rembuk down")
    on_call.type(".venv/bin/rembuk up --detach")


def test_a_region_whose_invitation_was_seen_is_turned_away_and_admitted_anew(on_call: OnCall) -> None:
    away, anew = RUNBOOK["The hub, and a region that is cut off"]
    with on_call.with_a_hub("seen.json"):
        on_call.report_and_be_told()
        on_call.type(away)
        eventually(lambda: refused_by_the_hub(on_call), 40)
        on_call.type(anew)
        on_call.post("reports", "/v1/problems", REPORT)
        on_call.known_to_hub()


def refused_by_the_hub(on_call: OnCall) -> None:
    """`status` says so from the region's next attempt on."""
    told = run(on_call.folder, ".venv/bin/rembuk status", on_call.base)
    assert (told.returncode, "refuses this region" in told.stdout) == (1, True), told.stdout


def test_the_region_key_is_changed_while_people_report(on_call: OnCall) -> None:
    before, old = on_call.logs(), on_call.home.region_key.read_text()
    told = on_call.follow("The region's key is to be changed")[0]
    assert "is the region's key" in told
    assert old.strip() not in on_call.home.region_key.read_text()
    on_call.type("cmp .rembuk/jatim/region.key elsewhere/region.key")
    [kept] = (on_call.folder / "elsewhere").glob("region.key.2*")
    assert kept.read_text() == old
    assert "in no file that is in use" in on_call.type(f".venv/bin/rembuk vault id {kept}")
    on_call.has_all_of(before)
    before = on_call.logs()
    restore, with_the_old_key = RUNBOOK["PostgreSQL's disk is gone, and there is a base backup"]
    told = on_call.refused(restore)
    assert f"opened by {kept.resolve()}" in told
    on_call.type(with_the_old_key)
    on_call.has_all_of(before)


def test_without_any_backup_the_stream_brings_the_logs_but_no_contact(on_call: OnCall) -> None:
    on_call.have_a_backup()  # which is found later
    on_call.report_and_be_told()  # more than it holds
    before, heard = on_call.logs(), len(on_call.sink.at(PATH))
    on_call.follow("PostgreSQL's disk is gone, and there is no backup")
    on_call.well()
    on_call.goes_on_from(before)
    on_call.post("reports", "/v1/problems", REPORT)

    def waits_for_the_key() -> None:
        waiting = on_call.ask("notifications", "select state, reason from delivery where state <> 'sent'")
        assert list(map(tuple, waiting)) == [("failed", "the contact cannot be opened: KeyMissing")]

    eventually(waits_for_the_key, 40)
    assert len(on_call.sink.at(PATH)) == heard


def write_off(on_call: OnCall) -> dict[str, int]:
    """The runbook's command for each service that still misses keys; of how many persons each did. Then all is well."""
    *_, command = RUNBOOK["Keys of persons are missing"]
    told = run(on_call.folder, ".venv/bin/rembuk vault missing --json", on_call.base).stdout
    lost = Counter(json.loads(line)["service"] for line in told.splitlines())
    for on_call.service, persons in lost.items():
        on_call.persons_lost = str(persons)
        assert f"of {persons:,} persons that their keys are lost" in on_call.type(command)
    on_call.had_keys &= on_call.persons_with_keys()
    assert "no key is missing" in on_call.type(".venv/bin/rembuk vault missing")
    return lost


def test_keys_that_are_missing_come_back_from_backups_and_the_others_are_written_off(on_call: OnCall) -> None:
    heard = len(on_call.sink.at(PATH))
    look, put_back, _ = RUNBOOK["Keys of persons are missing"]
    told = on_call.type(look)
    assert "rembuk vault put-back notifications" in told
    refused = on_call.refused(".venv/bin/rembuk vault write-off notifications --persons 1")
    assert "backups have the keys of 1 of them; nothing was written" in refused
    assert "notifications: of 1 keys that were missing 1 are back" in on_call.type(put_back)
    assert set(write_off(on_call)) == {"reports"}
    eventually(lambda: told_after_all(on_call, heard), 100)
    on_call.well()
    assert "all is well" in on_call.type(".venv/bin/rembuk status")
    eventually(lambda: signed(on_call), 40)
    assert "the key was lost and written off" in on_call.type(".venv/bin/rembuk verify")


def told_after_all(on_call: OnCall, heard: int) -> None:
    assert len(on_call.sink.at(PATH)) == heard + 1


def test_a_resident_who_doubts_sees_that_a_promise_from_before_all_this_was_kept(on_call: OnCall) -> None:
    [verified] = on_call.follow("A resident doubts that his report was kept")
    assert on_call.problem in verified
    assert [line.split(":")[0] for line in verified.splitlines() if not line.startswith(" ")] == [
        "PROVEN receipt",
        "PROVEN promise",
    ], verified


def test_a_missing_log_key_is_put_back_or_replaced_and_old_receipts_stay_valid(on_call: OnCall) -> None:
    put_back, replace = RUNBOOK["The log's key is missing"]
    on_call.type(".venv/bin/rembuk down")
    on_call.home.log_key.unlink()
    told = on_call.refused(".venv/bin/rembuk up --detach")
    assert "tree heads are signed by" in told
    assert led_by(told) == "The log's key is missing"
    assert not on_call.home.log_key.exists()
    on_call.type(put_back)
    on_call.type(".venv/bin/rembuk down")
    on_call.home.log_key.unlink()
    before = (on_call.folder / "elsewhere/keys").read_text().split()
    on_call.type(replace)
    after = (on_call.folder / "elsewhere/keys").read_text().split()
    assert set(before) < set(after)
    assert len(after) == 2 * len(before)
    on_call.type(".venv/bin/rembuk receipt verify receipt promise --key elsewhere/keys")
    (on_call.folder / "new").write_text("\n".join(set(after) - set(before)))
    fresh = on_call.post("reports", "/v1/problems", REPORT)["id"]
    on_call.type(f".venv/bin/rembuk receipt get {fresh} --out fresh")
    on_call.type(".venv/bin/rembuk receipt verify fresh --key new")


def test_a_region_key_that_is_lost_for_good_is_replaced(on_call: OnCall) -> None:
    on_call.sink.posted.clear()
    on_call.subscribe()  # something is sealed again
    before = on_call.logs()
    on_call.type(".venv/bin/rembuk down")
    on_call.home.region_key.unlink()
    _, replace = RUNBOOK["The region's key is missing"]
    assert "Nothing is destroyed" in on_call.refused(".venv/bin/rembuk up --new-region-key --detach")
    for copy in (on_call.folder / "elsewhere").glob("region.key*"):
        copy.unlink()
    assert "region.key is missing" in on_call.refused(".venv/bin/rembuk up --detach")
    on_call.type(replace)
    assert on_call.home.region_key.stat().st_mode & 0o077 == 0
    assert on_call.ask("notifications", "select 1 from vault_key") == []
    assert {service: log[: len(before[service])] for service, log in on_call.logs().items()} == before
    assert on_call.post("reports", "/v1/problems", {**REPORT, "reporter": {"name": "Budi"}})["position"]
    assert "which no file has" in on_call.type(RUNBOOK["Keys of persons are missing"][0])
    assert set(write_off(on_call)) >= {"reports", "notifications"}
    on_call.well()
