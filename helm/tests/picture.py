#!/usr/bin/env python3
"""Draws the dashboard from numbers: picture.py KEPT HTML

KEPT is what `dashboard.py --keep` wrote: what Prometheus answered to the dashboard's
queries. This is no Grafana; it puts the same panels in the same places, so that one
sees what they tell. `chromium --headless --screenshot` makes a picture of it.
"""

import html
import json
import math
import pathlib
import re
import sys
import time

CELL, ROW = 62, 32
COLOURS = ["#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#705da0", "#37872d", "#fade2a"]
STYLE = """
body { background: #111217; color: #ccccdc; font: 12px DejaVu Sans, sans-serif; margin: 8px; position: relative }
.panel { position: absolute; background: #181b1f; border: 1px solid #2c2f36; box-sizing: border-box; padding: 4px 6px; overflow: hidden }
.row { position: absolute; font-weight: bold; font-size: 14px; padding-top: 8px }
h2 { font-size: 12px; font-weight: normal; margin: 0 0 2px; white-space: nowrap }
.number { display: flex; align-items: center; justify-content: center; font-size: 28px; height: calc(100% - 18px) }
.legend { font-size: 9px; line-height: 12px; max-height: 36px; overflow: hidden }
.legend span { margin-right: 8px; white-space: nowrap }
text { fill: #8e8e99; font-size: 9px } td { padding-right: 14px; white-space: nowrap }
"""


def main(kept, out):
    panels = json.loads(pathlib.Path(kept).read_text())
    places = [entry["panel"]["gridPos"] for entry in panels]
    bottom = max(place["y"] + place["h"] for place in places) * ROW
    parts = [
        f'<div class="row" style="left:0;top:{row["gridPos"]["y"] * ROW}px">{html.escape(row["title"])}</div>'
        for row in rows()
    ]
    parts += [draw(entry["panel"], entry["series"]) for entry in panels]
    pathlib.Path(out).write_text(
        f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>'
        f'<body style="width:{24 * CELL}px;height:{bottom}px">{"".join(parts)}'
    )
    print(f"{24 * CELL + 16} {bottom + 16}")


def rows():
    dashboard = pathlib.Path(__file__).resolve().parent.parent / "quotagate" / "files" / "dashboard.json"
    return [panel for panel in json.loads(dashboard.read_text())["panels"] if panel["type"] == "row"]


def draw(panel, series):
    place = panel["gridPos"]
    width, height = place["w"] * CELL, place["h"] * ROW
    kind = {"stat": stat, "bargauge": bars, "timeseries": lines, "heatmap": heatmap, "table": table}[panel["type"]]
    style = f"left:{place['x'] * CELL}px;top:{place['y'] * ROW}px;width:{width - 4}px;height:{height - 4}px"
    body = kind(panel, series, width - 18, height - 70)
    return f'<div class="panel" style="{style}"><h2>{html.escape(panel["title"])}</h2>{body}</div>'


def stat(panel, series, width, height):
    defaults = panel["fieldConfig"]["defaults"]
    value = float(series[0]["values"][-1][1])
    colour = by_threshold(defaults, value)
    look = f"background:{colour};color:#111" if panel["options"]["colorMode"] == "background" else f"color:{colour}"
    return f'<div class="number" style="{look}">{shown(value, defaults["unit"])}</div>'


def bars(panel, series, width, height):
    defaults = panel["fieldConfig"]["defaults"]
    values = [(legend(entry), float(entry["values"][-1][1])) for entry in series]
    rows = "".join(
        f'<tr><td>{html.escape(name)}</td><td style="width:100%"><div style="width:{min(value / defaults["max"], 1) * 100:.1f}%;height:14px;'
        f'background:{by_threshold(defaults, value)}"></div></td><td style="color:{by_threshold(defaults, value)}">{shown(value, defaults["unit"])}</td></tr>'
        for name, value in sorted(values, key=lambda row: -row[1])
    )
    return f"<table>{rows}</table>"


def by_threshold(defaults, value):
    colour = [step["color"] for step in defaults["thresholds"]["steps"] if step["value"] is None or value >= step["value"]][-1]
    return {"text": "#ccccdc", "green": "#73bf69", "red": "#f2495c", "orange": "#ff9830"}[colour]


def lines(panel, series, width, height):
    defaults = panel["fieldConfig"]["defaults"]
    stacked = defaults["custom"]["stacking"]["mode"] == "normal"
    times = sorted({at for entry in series for at, _ in entry["values"]})
    sums = dict.fromkeys(times, 0.0)
    drawn = []
    for entry in series:
        values = {at: float(value) for at, value in entry["values"] if math.isfinite(float(value))}
        if stacked:
            for at in times:
                sums[at] += values.get(at, 0.0)
            values = dict(sums)
        drawn.append(values)
    # Where all are 0 they lie on the ground; what falls below 0 lifts it.
    most = max([value for values in drawn for value in values.values()] + [0])
    least = min([value for values in drawn for value in values.values()] + [0])
    span = most - least or 1
    x = scale(times, width)
    shapes = []
    for index, values in reversed(list(enumerate(drawn))):
        colour = COLOURS[index % len(COLOURS)]
        points = [(x(at), height - (values[at] - least) / span * (height - 12)) for at in times if at in values]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        if stacked and points:
            shapes.append(f'<polygon points="{points[0][0]:.1f},{height} {line} {points[-1][0]:.1f},{height}" fill="{colour}" fill-opacity="0.35"/>')
        shapes.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.2"/>')
    for step in defaults.get("thresholds", {}).get("steps", []):
        if step["value"] is not None and least <= step["value"] <= most:
            y = height - (step["value"] - least) / span * (height - 12)
            shapes.append(f'<line x1="0" y1="{y:.1f}" x2="{width}" y2="{y:.1f}" stroke="{by_threshold(defaults, step["value"])}" stroke-dasharray="4"/>')
    names = "".join(
        f'<span style="color:{COLOURS[index % len(COLOURS)]}">{html.escape(legend(entry))}</span>' for index, entry in enumerate(series)
    )
    return svg(width, height, shapes, times, shown(most or span, defaults["unit"])) + f'<div class="legend">{names}</div>'


def heatmap(panel, series, width, height):
    ordered = sorted(series, key=lambda entry: float(entry["metric"]["le"]))
    times = sorted({at for entry in ordered for at, _ in entry["values"]})
    x, tall = scale(times, width), height / max(len(ordered), 1)
    below, cells = dict.fromkeys(times, 0.0), []
    for index, entry in enumerate(ordered):
        for at, value in entry["values"]:
            # Prometheus counts what is less; the cell is what lies between.
            cells.append((index, at, float(value) - below[at]))
            below[at] = float(value)
    most = max([value for _, _, value in cells] + [1e-9])
    step = width / max(len(times), 1)
    shapes = [
        f'<rect x="{x(at):.1f}" y="{height - (index + 1) * tall:.1f}" width="{step:.1f}" height="{tall - 1:.1f}" fill="#ff780a" fill-opacity="{(value / most) ** 0.5:.2f}"/>'
        for index, at, value in cells
        if value > 0
    ]
    shapes += [
        f'<text x="2" y="{height - index * tall - 2:.1f}">{shown(float(entry["metric"]["le"]), "s")}</text>'
        for index, entry in enumerate(ordered)
        if index % 3 == 0
    ]
    return svg(width, height, shapes, times, "")


def table(panel, series, width, height):
    names = sorted({name for entry in series for name in entry["metric"]})
    head = "".join(f"<td><b>{html.escape(name)}</b></td>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(entry['metric'].get(name, ''))}</td>" for name in names) + "</tr>" for entry in series)
    return f"<table><tr>{head}</tr>{body}</table>"


def scale(times, width):
    first, last = (times[0], times[-1]) if times else (0, 1)
    return lambda at: (at - first) / max(last - first, 1) * width


def svg(width, height, shapes, times, most):
    ends = [time.strftime("%H:%M:%S", time.gmtime(at)) for at in (times[0], times[-1])] if times else ["", ""]
    marks = [
        f'<text x="2" y="9">{most}</text>',
        f'<text x="0" y="{height + 11}">{ends[0]}</text>',
        f'<text x="{width}" y="{height + 11}" text-anchor="end">{ends[1]}</text>',
        f'<line x1="0" y1="{height}" x2="{width}" y2="{height}" stroke="#2c2f36"/>',
    ]
    return f'<svg width="{width}" height="{height + 14}">{"".join([*shapes, *marks])}</svg>'


def legend(entry):
    return re.sub(r"\{\{(\w+)\}\}", lambda name: entry["metric"].get(name[1], ""), entry["legend"])


def shown(value, unit):
    """Short, with its unit, as Grafana does."""
    if unit == "percentunit":
        return f"{value * 100:.1f}%"
    if unit == "s":
        for size, name in ((3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs")):
            if abs(value) >= size or (size == 1e-6 and value):
                return "∞" if math.isinf(value) else f"{value / size:.3g} {name}"
        return "0 s"
    short = f"{value / 1000:.3g} K" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{short} /s" if unit == "reqps" else short


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
