"""Alert rules, Prometheus' configuration and the dashboard, held against a running region and by promtool itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from rembuk.testing.ports import free_ports
from rembuk.testing.receivers import only
from rembuk.testing.services import RunningRegion, eventually

ROOT = Path(__file__).parents[1]
PROMETHEUS, GRAFANA = ROOT / "deploy/prometheus", ROOT / "deploy/grafana"
RULES = [rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((GRAFANA / "dashboards/region.json").read_text())
FOREIGN = {"up", "node_filesystem_avail_bytes", "node_filesystem_size_bytes"}
"""Metrics of Prometheus itself and of its node exporter."""
RUNBOOK = (ROOT / "docs/runbook.md").read_text()
SERVERS_SAY = {
    "No space left on device",
    "error opening msg block file",
    "shutting down",
    "database system was interrupted while in recovery",
    "This probably means that some data is corrupted and you will have to use the last backup",
}
"""What PostgreSQL and nats-server have in their logs; the rest is ours."""
WORDS = {"by", "without", "and", "or", "unless", "on", "ignoring", "group_left", "group_right", "bool", "offset"}


def metrics_in(expression: str) -> set[str]:
    """The names of metrics in PromQL: words that are no function, keyword, label or duration."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(?:by|without|on|ignoring)\s*\([^)]*\)', " ", expression)
    words = re.findall(r"(?<![\w.])[a-zA-Z_:][\w:]*(?!\w*\s*\()", bare)
    return set(words) - WORDS


def expressions() -> list[str]:
    queried = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    named = [variable["query"]["query"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"]
    asked = [match[1] for name in named if (match := re.fullmatch(r"label_values\((.*), \w+\)", name))]
    assert len(asked) == len(named)
    return [*(rule["expr"] for rule in RULES), *queried, *asked]


@pytest.fixture(scope="module")
def region(start_region: Callable[..., RunningRegion]) -> RunningRegion:
    return start_region()


def scrape(region: RunningRegion, service: str) -> str:
    return httpx.get(f"{region.url(service)}/metrics", timeout=10).raise_for_status().text


def test_names_of_metrics_are_found_in_promql() -> None:
    expression = (
        'sum by (service, le) (rate(a_total{b="c", d=~"$e"}[5m])) / on (x) group_left max(f) > 5 + g{h="i"} == 0.1'
    )
    assert metrics_in(expression) == {"a_total", "f", "g"}


def test_every_metric_that_is_alerted_on_or_shown_is_exported(region: RunningRegion) -> None:
    problem = {"area": "35.78", "category": "theft", "title": "Motor", "description": "Hilang."}
    httpx.post(f"{region.url('reports')}/v1/problems", json=problem, timeout=20).raise_for_status()
    region.ask("reports", "insert into witness (verifier_key) values ('polmas/jateng/witness+12345678+AAAA')")

    def exported() -> None:
        names = set(FOREIGN)
        for service in region.services:
            for family in text_string_to_metric_families(scrape(region, service)):
                names |= {family.name + "_total"} if family.type == "counter" else set()
                names |= {sample.name for sample in family.samples}
        used = {name for name in set().union(*map(metrics_in, expressions())) if not name.startswith("rembuk_hub_")}
        assert used - names == set()
        assert len(used) > 20

    eventually(exported)


def anchors() -> set[str]:
    """Of the runbook's parts."""
    headings = re.findall(r"^#+ (.*)$", RUNBOOK, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_alert_says_how_bad_it_is_what_is_wrong_and_where_to_read_on() -> None:
    parts = anchors()
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning")
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (page, anchor in parts) == ("docs/runbook.md", True), rule["alert"]
        assert anchor == rule["alert"].lower()
        assert rule["annotations"]["summary"]


def test_what_the_runbook_says_one_sees_is_said_and_leads_to_a_part_of_it() -> None:
    _, _, rest = RUNBOOK.partition("### What do you see?\n")
    rows = [line.split("|")[1:-1] for line in rest.partition("\n## ")[0].splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    sources = "".join(
        path.read_text() for folder in ("cli", "shared/rembuk", "services") for path in (ROOT / folder).rglob("*.py")
    )
    for seen, _, then in rows:
        links = re.findall(r"\]\(#([^)]*)\)", then)
        assert links, seen
        assert [link for link in links if link not in anchors()] == []
        for quoted in re.findall("`([^`]*)`", seen):
            ours = re.split("9|JATIM_REPORTS", quoted)
            assert quoted in SERVERS_SAY or all(part in sources for part in ours), quoted


def test_every_alert_has_a_history_that_raises_it_and_one_that_does_not() -> None:
    cases = [
        case
        for group in yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
        for case in group["alert_rule_test"]
    ]
    raised = {case["alertname"] for case in cases if case.get("exp_alerts")}
    quiet = {case["alertname"] for case in cases if not case.get("exp_alerts")}
    alerts = {rule["alert"] for rule in RULES}
    assert raised == alerts
    assert alerts - quiet == {"StreamAhead"}  # its history has another stream that is level and then behind


def test_every_panel_has_a_title_a_unit_and_the_chosen_data_source() -> None:
    assert [one["name"] for one in DASHBOARD["templating"]["list"] if one["type"] == "datasource"] == ["datasource"]
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    for panel in DASHBOARD["panels"]:
        assert panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert [panel["datasource"], *(target["datasource"] for target in panel["targets"])] == [chosen] * (
            1 + len(panel["targets"])
        )
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_no_panel_lies_upon_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_grafana_is_told_where_its_data_and_dashboards_are() -> None:
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/rembuk.yml").read_text())["providers"]
    assert (source["type"], provider["type"]) == ("prometheus", "file")
    assert f"{provider['options']['path']}=$PWD/{GRAFANA.relative_to(ROOT)}/dashboards".removeprefix("$") in (
        (ROOT / "deploy/README.md").read_text()
    )


def program(name: str) -> str:
    """promtool or prometheus, from the PATH or as `.ci/prometheus` has fetched it."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:{ROOT / '.ci/bin'}")
    if found is None:
        pytest.skip(f"{name} is neither on the PATH nor in .ci/bin: .ci/prometheus fetches it")
    return found


def promtool(*arguments: str, told: str = "") -> str:
    done = subprocess.run(
        [program("promtool"), *arguments], cwd=PROMETHEUS, input=told, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "what", ["check config prometheus.yml", "check rules alerts.yml", "test rules alerts_test.yml"]
)
def test_promtool_finds_nothing_wrong(what: str) -> None:
    assert "SUCCESS" in promtool(*what.split())


def test_promtool_finds_nothing_wrong_with_what_services_tell(region: RunningRegion) -> None:
    for service in region.services:
        assert promtool("check", "metrics", told=scrape(region, service)) == ""


class Prometheus:
    """A real one that watches a region by our configuration, but for ports."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, path: str, **parameters: str) -> Any:
        try:
            answer = httpx.get(f"{self._url}/api/v1/{path}", params=parameters, timeout=5)
        except httpx.ConnectError as error:
            raise AssertionError("it is not up yet") from error
        assert answer.is_success, answer.text
        return answer.json()["data"]


@pytest.fixture
def prometheus(region: RunningRegion, tmp_path: Path) -> Iterator[Prometheus]:
    binary = program("prometheus")
    config = (PROMETHEUS / "prometheus.yml").read_text().replace("_interval: 15s", "_interval: 1s")
    config = config.replace("scrape_timeout: 10s", "scrape_timeout: 1s")
    for number, service in enumerate(region.services, 1):
        config = config.replace(f"127.0.0.1:800{number}", region.url(service).removeprefix("http://"))
    (tmp_path / "prometheus.yml").write_text(config)
    shutil.copy(PROMETHEUS / "alerts.yml", tmp_path)
    listen = f"127.0.0.1:{free_ports()}"
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen(
            [binary, "--config.file", "prometheus.yml", "--storage.tsdb.path", "data", "--web.listen-address", listen],
            cwd=tmp_path, stdout=log, stderr=log,
        )  # fmt: skip
        yield Prometheus(f"http://{listen}")
        running.terminate()
        running.wait(20)


async def test_a_real_prometheus_raises_an_alert_of_a_running_region(
    region: RunningRegion, prometheus: Prometheus
) -> None:
    owner = await asyncpg.connect(region.region.database("reports").owner_url)
    await owner.execute(
        "insert into quarantine (follower, stream, position, stream_id, type, error, headers, data) "
        "values ('projection', $1, 1, 'one', 'ProblemReported', 'why', '{}', '')",
        f"{region.region.name.upper()}_REPORTS",
    )
    await owner.close()

    def firing() -> None:
        alert = only([one for one in prometheus.ask("alerts")["alerts"] if one["state"] == "firing"])
        assert (alert["labels"]["alertname"], alert["labels"]["service"]) == ("EventsInQuarantine", "reports")
        assert alert["annotations"]["runbook"] == "docs/runbook.md#eventsinquarantine"

    eventually(firing, 40)

    def watches_all() -> None:
        up = prometheus.ask("query", query='up{job="rembuk"} == 1')["result"]
        assert sorted(one["metric"]["service"] for one in up) == sorted(region.services)

    eventually(watches_all)
    healthy = [rule["health"] for group in prometheus.ask("rules")["groups"] for rule in group["rules"]]
    assert set(healthy) == {"ok"}
    for expression in expressions():
        prometheus.ask("query", query=expression.replace("$__rate_interval", "1m").replace("$service", ".*"))
