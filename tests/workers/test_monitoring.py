"""The files that Prometheus and Grafana read: well-formed, and about metrics that there are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor

from synapse_lite.config.model import Config
from synapse_lite.handlers.media.library import missing_counter
from synapse_lite.http.metrics import HttpMetrics
from synapse_lite.matrix.signing import generate_signing_key
from synapse_lite.tasks.metrics import TaskMetrics
from synapse_lite.workers.core import build_core
from synapse_lite.workers.infrastructure import build_infrastructure

DOCKER = Path(__file__).parents[2] / "docker"
METRICS_PORT = 9000
PROMETHEUS_OWN = {"up"}
TARGET_LABELS = {"job", "instance"}
SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum"),
}
FUNCTIONS = {
    *("absent", "changes", "histogram_quantile", "increase", "label_values", "rate"),
    *("max", "min", "sum", "topk"),
}
WORDS = {"by", "on", "or", "unless", "offset", "le"}


def _load(name: str) -> Any:
    return yaml.safe_load((DOCKER / name).read_text())


def _rules() -> list[dict[str, Any]]:
    return [rule for group in _load("prometheus/rules.yaml")["groups"] for rule in group["rules"]]


def _dashboard() -> dict[str, Any]:
    return json.loads((DOCKER / "grafana/dashboard.json").read_text())


def _expressions() -> Iterator[tuple[str, str]]:
    """(where it stands, PromQL) of every rule, panel, variable and annotation."""
    for rule in _rules():
        yield rule["alert"], rule["expr"]
    dashboard = _dashboard()
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield f"{panel['title']} {target['refId']}", target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]["query"]
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]


EXPRESSIONS = dict(_expressions())


@pytest.fixture(scope="module")
def registry() -> CollectorRegistry:
    """What a process registers that serves requests and runs tasks."""
    config = Config.model_validate({"server_name": "hs.test", "database": {"name": "psycopg2", "args": {}}})
    core = build_core(
        build_infrastructure(reactor, config), config, generate_signing_key("hs.test"), follows=True
    )
    TaskMetrics(core.metrics)
    HttpMetrics(core.metrics)
    missing_counter(core.metrics)
    return core.metrics


@pytest.fixture(scope="module")
def served(registry: CollectorRegistry) -> set[str]:
    """Names of the samples on `/metrics`, also of those that have no sample yet."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {family.name + suffix for family in families for suffix in SUFFIXES.get(family.type, ())}


@pytest.fixture(scope="module")
def labels(registry: CollectorRegistry) -> set[str]:
    declared = {
        label for collector in registry._collector_to_names for label in getattr(collector, "_labelnames", ())
    }
    sampled = {label for family in registry.collect() for sample in family.samples for label in sample.labels}
    return declared | sampled | TARGET_LABELS | {"le"}


def _parse(expression: str) -> tuple[set[str], set[str]]:
    """The metrics and the labels that a PromQL expression names; AssertionError for what is no expression."""
    text = re.sub(r"\[(\d+[smhd]|\$__rate_interval)\]", "", expression)
    names = set(re.findall(r'([a-z_]+)\s*(?:=~|!~|!=|=)\s*"', text))
    text = re.sub(r'\{(?:[a-z_]+(?:=~|!~|!=|=)"[^"{}]*"(?:, )?)*\}', "", text)
    lists = re.findall(r"\b(?:by|on)\s*\(([^()]*)\)", text)
    names |= {name.strip() for names in lists for name in names.split(",")}
    text = re.sub(r"\b(?:by|on)\s*\([^()]*\)", "", text)
    text = re.sub(r"\boffset \d+[smhd]", "", text)
    if variable := re.fullmatch(r"label_values\((.*), ([a-z_]+)\)", text):
        text = variable[1]
        names.add(variable[2])
    called = set(re.findall(r"([a-z_]+)\s*\(", text))
    assert called <= FUNCTIONS | WORDS, f"unknown functions: {called - FUNCTIONS}"
    assert not re.search(r"[^\w\s()<>=,.+*/-]", text), f"odd: {text}"
    depth = 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        assert depth >= 0, "a parenthesis too many"
    assert depth == 0, "a parenthesis is missing"
    return set(re.findall(r"\b[a-z_][a-z0-9_]*\b", text)) - FUNCTIONS - WORDS, names


def test_rules_are_complete() -> None:
    """Each has a name of its own, an expression, how bad it is, and words for who is woken by it."""
    rules = _rules()
    names = [rule["alert"] for rule in rules]
    assert len(names) == len(set(names))
    assert {"TaskUnserved", "TaskWaitsTooLong", "TaskLeaseLost", "TaskFailed", "StreamLockSlow"} < set(names)
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m")), rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        assert all(rule["annotations"][name].strip() for name in ("summary", "description")), rule["alert"]


def test_what_the_readme_tells_to_watch_has_an_alert() -> None:
    """Every metric of the sentence that begins with "Alert on"."""
    text = (DOCKER.parent / "README.md").read_text()
    sentence = text[text.index("Alert on the metrics") :].partition("should be 0")[0]
    watched = set(re.findall(r"`(synapse_lite_\w+)`", sentence))
    assert watched
    assert watched <= {name for rule in _rules() for name in _parse(rule["expr"])[0]}


@pytest.mark.parametrize("where", EXPRESSIONS)
def test_every_metric_exists(where: str, served: set[str], labels: set[str]) -> None:
    """Metrics and labels of all rules and panels are on the real `/metrics` of a process."""
    metrics, used = _parse(EXPRESSIONS[where])
    assert metrics
    assert metrics <= served | PROMETHEUS_OWN
    assert used <= labels


@pytest.mark.parametrize(
    "expression",
    [
        "sum(rate(a_total[5m])",
        "sum(a_total))",
        "summ(a_total)",
        'a_total{action="x}',
        "a_total[5 m]",
        "a & b",
    ],
)
def test_mistakes_are_found(expression: str) -> None:
    """The check of expressions refuses what Prometheus would."""
    with pytest.raises(AssertionError):
        _parse(expression)


def test_rule_words_use_labels_that_remain(labels: set[str]) -> None:
    """What a message names has survived the aggregation of its expression."""
    for rule in _rules():
        words = " ".join(rule["annotations"].values())
        named = set(re.findall(r"\$labels\.(\w+)", words))
        grouped = re.findall(r"\bmax by \(([^()]*)\)", rule["expr"])
        assert named <= (set(grouped) if grouped else TARGET_LABELS), rule["alert"]


def test_prometheus_asks_every_process() -> None:
    """Its targets are the services of the compose file, at the port where their configuration serves metrics."""
    config = _load("prometheus/prometheus.yaml")
    assert config["rule_files"] == ["rules.yaml"]
    (job,) = config["scrape_configs"]
    targets = {target for group in job["static_configs"] for target in group["targets"]}
    processes = set(_load("compose.yaml")["services"]) - {"postgres"}
    assert targets == {f"{name}:{METRICS_PORT}" for name in processes}
    assert all(f'job="{job["job_name"]}"' in text for text in EXPRESSIONS.values() if "up{" in text)
    for name in processes:
        options = _load(f"config/{'homeserver' if name == 'main' else name}.yaml")
        listeners = options["listeners" if name == "main" else "worker_listeners"]
        assert [each["port"] for each in listeners if each["type"] == "metrics"] == [METRICS_PORT]


def test_monitoring_is_a_choice() -> None:
    """Its services start with the profile only, listen on this machine only, and read files that there are."""
    assert _load("compose.yaml")["include"] == ["monitoring.yaml"]
    monitoring = _load("monitoring.yaml")
    assert set(monitoring["services"]) == {"prometheus", "grafana"}
    for service in monitoring["services"].values():
        assert service["profiles"] == ["monitoring"]
        assert service["restart"] == "unless-stopped"
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        for source in (volume.split(":")[0] for volume in service["volumes"]):
            assert source in monitoring["volumes"] or (DOCKER / source).exists(), source


def test_the_dashboard_finds_its_data() -> None:
    """Every panel asks the data source that is provisioned, and has a place of its own."""
    (source,) = _load("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    dashboard = _dashboard()
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["current"]["value"] == source["uid"]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        for target in panel.get("targets", ()):
            assert target["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    used = [
        (x, y)
        for grid in (panel["gridPos"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(used) == len(set(used))
    assert max(x for x, _ in used) < 24
