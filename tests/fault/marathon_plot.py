"""The picture of a marathon: memory and descriptors of each process over time, faults as lines."""

WIDTH, PANEL, LEFT, TOP, GAP = 1100, 220, 70, 46, 46
COLORS = {"coordinator": "#c03028", "prefill": "#2868b0", "decode": "#2c8c4c"}
FAULTS = {"kill": "#d08080", "freeze": "#80a0d0", "join": "#90c090"}


def ceiling(value):
    """The next round number."""
    step = 1
    while True:
        for factor in (1, 2, 5):
            if value <= factor * step:
                return factor * step
        step *= 10


def text(x, y, words, anchor="start", color="#444"):
    return '<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s">%s</text>' % (x, y, anchor, color, words)


def panel(top, title, rows, column, unit, faults, end):
    high = ceiling(max((r[column] / unit for r in rows), default=1))
    x = lambda s: LEFT + (WIDTH - LEFT - 20) * s / end
    y = lambda v: top + PANEL * (1 - v / high)
    out = [text(LEFT, top - 8, title)]
    for kind, begun in faults:
        out.append(
            '<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="%s" stroke-width="0.6"/>'
            % (x(begun), x(begun), top, top + PANEL, FAULTS[kind])
        )
    for share in (0, 0.25, 0.5, 0.75, 1):
        at = y(high * share)
        out.append('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/>' % (LEFT, WIDTH - 20, at, at))
        out.append(text(LEFT - 6, at + 4, "%g" % (high * share), "end"))
        out.append(text(x(end * share), top + PANEL + 16, "%g min" % round(end * share / 60, 1), "middle"))
    lines = {}
    for row in rows:
        lines.setdefault((row[1], row[2]), []).append(row)
    for (role, _), of_one in lines.items():
        points = " ".join("%.1f,%.1f" % (x(r[0]), y(r[column] / unit)) for r in of_one)
        out.append(
            '<polyline points="%s" fill="none" stroke="%s" stroke-width="1.3"/>' % (points, COLORS[role])
        )
    return out


def draw(rows, faults):
    """rows: (s, role, pid, rss_bytes, descriptors); faults: (kind, s). An SVG document."""
    end = max([r[0] for r in rows] + [1])
    height = TOP + 2 * (PANEL + GAP) + 10
    out = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" '
        'font-size="12"><rect width="100%%" height="100%%" fill="#fff"/>' % (WIDTH, height)
    ]
    legend = LEFT + 400
    for name, color in list(COLORS.items()) + list(FAULTS.items()):
        out.append('<rect x="%d" y="10" width="12" height="12" fill="%s"/>' % (legend, color))
        out.append(text(legend + 16, 20, name))
        legend += 105
    out += panel(TOP, "resident memory of each process, MiB", rows, 3, 2**20, faults, end)
    out += panel(TOP + PANEL + GAP, "open descriptors of each process", rows, 4, 1, faults, end)
    return "\n".join(out + ["</svg>", ""])
