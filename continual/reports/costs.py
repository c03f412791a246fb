"""What runs cost, from what their events say."""

from continual.records import RunRecord

COSTS = {
    "trained_numbers": "trained numbers",
    "stored_numbers": "stored numbers",
    "seconds": "time",
    "tokens_per_second": "tokens/s learned\nimages/s for images",
    "evaluation_share": "evaluation\nshare of time",
    "peak_memory_bytes": "peak memory\nof the process or GPU",
    "energy_kwh": "energy\ncodecarbon",
}


def costs(record: RunRecord) -> dict[str, float]:
    """Return what a run has cost so far, by the ids of ``COSTS``; what was not measured is absent.

    Numbers and seconds are those of the last boundary, memory is the largest of all, energy the
    sum. Tokens per second are all tokens learned from over all seconds of learning, evaluation and
    start-up aside; images count as one each.
    """
    last = {e["experience"]: e for e in record.events() if "trained_numbers" in e}
    events = list(last.values())  # one of each: a run killed at a boundary says it twice
    found: dict[str, float] = {}
    for id in ("trained_numbers", "stored_numbers", "seconds"):
        value = events[-1].get(id) if events else record.environment.get(id)
        if isinstance(value, int | float):
            found[id] = float(value)
    learning = [event for event in events if event["experience"] >= 0]
    taught = _sum(learning, "training_seconds")
    tokens = _sum(learning, "training_tokens")
    if taught and tokens:
        found["tokens_per_second"] = tokens / taught
    evaluated = _sum(events, "evaluation_seconds")
    if taught is not None and evaluated:
        found["evaluation_share"] = evaluated / (taught + evaluated)
    peaks = [float(e["peak_memory_bytes"]) for e in events if "peak_memory_bytes" in e]
    if peaks:
        found["peak_memory_bytes"] = max(peaks)
    energy = _sum(events, "energy_kwh")
    if energy is not None:
        found["energy_kwh"] = energy
    return found


def cost_text(id: str, value: float) -> str:
    """Return a cost with its unit.

    >>> cost_text("peak_memory_bytes", 1.5e9), cost_text("seconds", 7.25)
    ('1,500 MB', '7.2 s')
    """
    if id == "seconds":
        return f"{value:,.0f} s" if value >= 10 else f"{value:.1f} s"
    if id == "evaluation_share":
        return f"{100 * value:.0f} %"
    if id == "peak_memory_bytes":
        return f"{value / 1e6:,.0f} MB"
    if id == "energy_kwh":
        return f"{1000 * value:,.2f} Wh"
    return f"{value:,.0f}"


def _sum(events: list[dict], name: str) -> float | None:
    """Return the sum over all events; None where one of them lacks the number."""
    values = [float(event[name]) for event in events if event.get(name) is not None]
    return sum(values) if values and len(values) == len(events) else None
