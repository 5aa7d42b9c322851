"""The chapters of the Compatibility page that the manifest makes: a table for each resource, then what is without."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from conformance.manifest import Item, Standing, items, standing
from conformance.sdk_walk import RESOURCES, calls, events

WORDS = {"met": "met", "differs": "differs", "not_yet": "not yet"}
KINDS = {"calls": "Calls", "sent": "Fields of requests", "told": "Fields of answers and events"}
OPENING = """\
## The SDK's surface

Walked by machine from the SDK's managed-agents resources: every call, every field of every request, however deep, every
field of every answer, event and webhook. A call or a field of a request is **met** when a test was seen to send it over
HTTP, and the server took it; that test is its witness, and fails when it does so no longer. A field of an answer is met
when a test was told it, other than null; all answers and events in the conformance tests are parsed strictly by the
SDK's types. The types are named as in the SDK, without `BetaManagedAgents`.
"""


def chapters() -> list[str]:
    parts = [OPENING, *_totals()]
    for resource in RESOURCES:
        parts += _resource(resource)
    return [*parts, *_records(), *_events(), *_exceptions()]


def _totals() -> Iterator[str]:
    yield from ("| The SDK's | met | differs | not yet |", "|---|---|---|---|")
    for kind, title in KINDS.items():
        count = Counter(standing(item).status for item in items() if item.kind == kind)
        yield f"| {title} | {' | '.join(str(count[status]) for status in WORDS)} |"
    yield ""


def _resource(resource: str) -> Iterator[str]:
    yield from (f"### `{resource}`", "", "| Call | Status | Fields of the request |", "|---|---|---|")
    fields = _grouped(item for item in items() if item.kind == "sent")
    for item in items():
        if item.kind == "calls" and item.name.startswith(f"{resource}."):
            call, stands = calls()[item.name], standing(item)
            said = [_field(one) for one in fields[item.name]] if stands.status == "met" else []
            yield f"| `{call.name}`<br>{call.route} | {_status(stands)} | {'<br>'.join(said)} |"
    yield ""


def _records() -> Iterator[str]:
    yield from ("### Records in requests", "", "| Record | Fields |", "|---|---|")
    sent = [item for item in items() if item.kind == "sent" and item.name.partition(":")[0] not in calls()]
    for record, fields in _grouped(sent).items():
        yield f"| `{record}` | {'<br>'.join(_field(one) for one in fields)} |"
    yield ""


def _events() -> Iterator[str]:
    yield from ("### Events of streams and webhooks", "", "| Type | Status |", "|---|---|")
    known = {item.name: item for item in items() if item.kind == "told"}
    for kind, model in sorted(events().items()):
        stands = standing(known[f"{model}.type"])
        yield f"| `{kind}` | {_status(stands)}{': ' * bool(stands.test)}{_test(stands)} |"
    yield ""


def _exceptions() -> Iterator[str]:
    """Fields of answers, and events, that nothing carries: those that are met are not listed one by one."""
    yield from ("### What answers and events never carry", "", "| Status | Fields |", "|---|---|")
    found: dict[Standing, list[str]] = defaultdict(list)
    for item in items():
        if item.kind == "told" and standing(item).status != "met":
            found[standing(item)].append(item.name)
    for stands, names in found.items():
        yield f"| {_status(stands)} | {_shortened(names)} |"
    yield ""


def _shortened(names: Iterable[str]) -> str:
    by_model: dict[str, list[str]] = defaultdict(list)
    for name in names:
        model, _, field = name.partition(".")
        by_model[model].append(field)
    return ", ".join(f"`{model}`: {' '.join(fields)}" for model, fields in by_model.items())


def _grouped(found: Iterable[Item]) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in found:
        groups[item.name.partition(":")[0]].append(item)
    return groups


def _field(item: Item) -> str:
    stands = standing(item)
    return f"`{item.name.partition(':')[2]}`: {_test(stands) or _status(stands)}"


def _test(stands: Standing) -> str:
    return stands.test.partition("::")[2].partition("[")[0]


def _status(stands: Standing) -> str:
    return WORDS[stands.status] + (f": *{stands.reason}*" if stands.reason else "")
