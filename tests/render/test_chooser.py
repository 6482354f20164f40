"""The Job that stands for a pod is put where the pod, and the other volumes that it uses, can be."""

from dataclasses import replace

from holdfast.model.population import Consumer
from holdfast.render import chooser

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
CONSUMER = Consumer(
    namespace="apps",
    node_selector={"disk": "fast"},
    affinity={},
    tolerations=[{"key": "reserved", "operator": "Exists"}],
    scheduler="binpacker",
    resources=[{"requests": {"cpu": "2"}}, {}],
)
ZONES = [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]} for zone in "ab"]


def test_it_asks_for_what_the_pod_asks_for() -> None:
    spec = chooser.job("place-1", "holdfast", "image", CONSUMER, [], {})["spec"]["template"]["spec"]
    assert [each["resources"] for each in spec["containers"]] == [{"requests": {"cpu": "2"}}, {}]
    assert (spec["nodeSelector"], spec["schedulerName"]) == ({"disk": "fast"}, "binpacker")
    assert spec["tolerations"] == CONSUMER.tolerations


def test_every_pin_must_hold_beside_what_the_pod_requires() -> None:
    consumer = replace(CONSUMER, affinity={"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": ZONES}}})
    found = chooser.affinity(consumer, [chooser.on_node("one"), (), chooser.on_node("one")])
    one = chooser.on_node("one")[0]["matchFields"]
    assert found["nodeAffinity"][REQUIRED]["nodeSelectorTerms"] == [
        {**zone, "matchFields": [*one, *one]} for zone in ZONES
    ]
    assert chooser.affinity(CONSUMER, [()]) == {}
    assert chooser.affinity(CONSUMER, [ZONES])["nodeAffinity"][REQUIRED]["nodeSelectorTerms"] == ZONES


def test_pods_are_looked_for_in_the_namespace_of_the_pod_that_it_stands_for() -> None:
    term = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}
    elsewhere = term | {"namespaces": ["other"]}
    preferred = [{"weight": 1, "podAffinityTerm": term}]
    consumer = replace(
        CONSUMER,
        affinity={
            "podAffinity": {REQUIRED: [term, elsewhere]},
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred},
        },
    )
    found = chooser.affinity(consumer, [])
    here = term | {"namespaces": ["apps"]}
    assert found["podAffinity"] == {REQUIRED: [here, elsewhere]}
    assert found["podAntiAffinity"] == {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": here}]
    }
