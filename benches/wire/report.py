"""What was measured, as a table and as a chart."""

import html
import statistics

BEGIN, END = "<!-- wire:begin -->", "<!-- wire:end -->"


def median(values):
    return statistics.median(values)


class Results:
    """The samples of each server in each measurement, a round each."""

    def __init__(self, samples):
        self.samples = samples

    def of(self, kind, server, figure="rate"):
        return [sample[figure] for sample in self.samples.get(kind, {}).get(server, []) if sample]

    def ratios(self, kind, server, to, figure="rate", to_kind=None):
        """Round by round, so that what slows a whole round falls out."""
        mine = self.samples.get(kind, {}).get(server, [])
        theirs = self.samples.get(to_kind or kind, {}).get(to, [])
        return [a[figure] / b[figure] for a, b in zip(mine, theirs) if a and b]


def figure(values, digits=0):
    """The median, and what was least and most."""
    if not values:
        return "–"
    low, middle, high = (f"{value:,.{digits}f}" for value in (min(values), median(values), max(values)))
    return middle if len(values) == 1 or low == high else f"{middle} ({low} to {high})"


def ratio(values):
    return f"{median(values):.2f}" if values else "–"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def markdown(results, servers, facts, skipped, waits):
    """Everything between the markers of docs/performance.md."""
    base = servers[0].name
    names = [server.name for server in servers]
    out = [facts, "", "**Requests a second, one core**, 8 connections with 32 requests each in flight:", ""]
    rows = []
    for server in servers:
        name = server.name
        rows.append([
            name, server.what, figure(results.of("full", name)), ratio(results.ratios("full", name, base)),
            figure(results.of("full", name, "cpu_us"), 1), figure(results.of("full", name, "bytes")),
        ])  # fmt: skip
    out += [table(["server", "decides", "a second", "× echo", "CPU, µs", "bytes of an answer"], rows), ""]
    out += ["**One request at a time**, one core:", ""]
    rows = [
        [name, figure(results.of("single", name)), ratio(results.ratios("single", name, base)),
         figure(results.of("single", name, "p50")), ratio(results.ratios("single", name, base, "p50")),
         figure(results.of("single", name, "p99"))]
        for name in names if results.of("single", name)
    ]  # fmt: skip
    out += [table(["server", "a second", "× echo", "p50, µs", "× echo", "p99, µs"], rows), ""]
    out += ["**Eight requests at a time**, each on a connection of its own, one core:", ""]
    rows = []
    for name in names:
        p50, p99 = results.of("eight", name, "p50"), results.of("eight", name, "p99")
        if p50:
            rows.append([
                name, figure(results.of("eight", name)), ratio(results.ratios("eight", name, name, to_kind="full")),
                figure(p50), figure(p99), ratio([high / low for low, high in zip(p50, p99)]),
            ])  # fmt: skip
    out += [table(["server", "a second", "× its best", "p50, µs", "p99, µs", "p99 / p50"], rows), ""]
    out += ["**Permits of 100 calls**, as the first table:", ""]
    rows = [
        [name, figure(results.of("batch", name, "calls")), ratio(results.ratios("batch", name, name, "calls", "full"))]
        for name in names if results.of("batch", name)
    ]  # fmt: skip
    out += [table(["server", "calls a second", "× single calls"], rows), ""]
    out += ["**Two cores**, which server and load share, to one core that they share:", ""]
    rows = [
        [name, figure(results.of("shared one", name)), figure(results.of("shared two", name)),
         ratio(results.ratios("shared two", name, name, "rate", "shared one"))]
        for name in names if results.of("shared two", name)
    ]  # fmt: skip
    out += [table(["server", "one core", "two cores", "ratio"], rows), ""]
    out += ["**Our own client**, 4 connections, 64 in flight, and then at half of that rate:", ""]
    rows = []
    for name in names:
        if not results.of("own", name):
            continue
        p50, p99 = results.of("half", name, "p50"), results.of("half", name, "p99")
        rows.append([
            name, figure(results.of("own", name)), ratio(results.ratios("own", name, base)),
            figure(results.of("half", name)), figure(p50), figure(p99),
            ratio([high / low for low, high in zip(p50, p99)]), figure(results.of("half", name, "max")),
        ])  # fmt: skip
    head = ["server", "a second", "× echo", "half the rate", "p50, µs", "p99, µs", "p99 / p50", "longest, µs"]
    out += [table(head, rows), ""]
    out += ["**Waits for the store**, of the whole run; each measurement's org was asked for by nobody before:", ""]
    rows = [
        [name, *(f"{number:,}" for number in (of["granted"], of["reserves"], sum(of["waited"]), *of["waited"]))]
        for name, of in waits.items()
    ]
    out.append(table(["server", "grants", "reserves", "waited", "≤ 1 ms", "≤ 10 ms", "≤ 100 ms", "longer"], rows))
    if skipped:
        out += ["", "Not measured:", "", *(f"- {line}" for line in skipped)]
    return "\n".join(out) + "\n"


def put_between(text, new):
    """The text with what stands between the markers replaced."""
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n{new}{END}{tail}"


# ---- chart --------------------------------------------------------------------

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 15px }
  .note { fill: #59636e; font-size: 12px }
  .bar { fill: #8c959f } .ours { fill: #0969da } .echo { fill: #59636e }
  .spread { stroke: #1f2328; stroke-width: 1.5 } .one { stroke: #59636e; stroke-dasharray: 3 3 }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc } .note { fill: #9198a1 }
    .bar { fill: #656c76 } .ours { fill: #4493f8 } .echo { fill: #9198a1 }
    .spread { stroke: #f0f6fc } .one { stroke: #9198a1 }
  }
"""
LEFT, WIDTH, ROW, RIGHT = 170, 420, 26, 190


def svg(results, servers):
    """Bars of both measurements that every server has, with the spread of the rounds."""
    panels = [
        ("full", "rate", "Requests a second on one core: 8 connections × 32 in flight", "more is better"),
        ("single", "p50", "One request at a time: median latency in µs", "less is better"),
    ]
    parts, y = [], 10
    for kind, what, title, note in panels:
        shown = [server for server in servers if results.of(kind, server.name, what)]
        if not shown:
            continue
        most = max(max(results.of(kind, server.name, what)) for server in shown)
        said = f'{html.escape(title)} <tspan class="note">({note})</tspan>'
        parts.append(f'<text class="title" x="10" y="{y + 16}">{said}</text>')
        y += 30
        base = results.of(kind, servers[0].name, what)
        if base:
            x = LEFT + WIDTH * median(base) / most
            parts.append(f'<line class="one" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + ROW * len(shown)}"/>')
        for server in shown:
            values = results.of(kind, server.name, what)
            low, middle, high = (WIDTH * value / most for value in (min(values), median(values), max(values)))
            of = results.ratios(kind, server.name, servers[0].name, what)
            style = "ours" if server.counts else "echo" if server.ours else "bar"
            centre = y + ROW / 2
            said = f"{median(values):,.0f}" + (f", {median(of):.2f} × echo" if of and server is not servers[0] else "")
            parts += [
                f'<text x="{LEFT - 8}" y="{centre + 4}" text-anchor="end">{html.escape(server.name)}</text>',
                f'<rect class="{style}" x="{LEFT}" y="{y + 4}" width="{middle:.1f}" height="{ROW - 8}" rx="2"/>',
                f'<line class="spread" x1="{LEFT + low:.1f}" x2="{LEFT + high:.1f}" y1="{centre}" y2="{centre}"/>',
                f'<text x="{LEFT + WIDTH + 8}" y="{centre + 4}">{said}</text>',
            ]
            y += ROW
        y += 20
    width = LEFT + WIDTH + RIGHT
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{y}" viewBox="0 0 {width} {y}" '
        'role="img" aria-label="Speed on the wire">'
    )
    return "\n".join([head, f"<style>{STYLE}</style>", *parts, "</svg>"]) + "\n"
