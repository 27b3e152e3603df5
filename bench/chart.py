"""A grouped bar chart as SVG, drawn by hand: no plotting library is needed to repeat a picture."""

COLOURS = ["#0b7285", "#868e96", "#e8590c", "#c2255c", "#5f3dc4"]


def grouped_bars(title, unit, groups, series, path):
    """groups: names along the axis; series: {name: [value of each group]}; written to path."""
    width, height, left, bottom, top = 760, 360, 60, 50, 60
    plot_w, plot_h = width - left - 20, height - bottom - top
    peak = max(max(values) for values in series.values()) * 1.15 or 1
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
           'font-family="sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>',
           f'<text x="{left}" y="20" font-size="15" font-weight="bold">{title}</text>']
    for i in range(5):
        value = peak * i / 4
        y = top + plot_h * (1 - i / 4)
        out.append(f'<line x1="{left}" x2="{width - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dee2e6"/>')
        out.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    out.append(f'<text x="{left - 45}" y="{top - 12}">{unit}</text>')
    slot = plot_w / len(groups)
    bar = slot * 0.8 / len(series)
    for g, group in enumerate(groups):
        out.append(f'<text x="{left + slot * (g + 0.5):.1f}" y="{height - bottom + 18}" '
                   f'text-anchor="middle">{group}</text>')
        for s, values in enumerate(series.values()):
            tall = plot_h * values[g] / peak
            x = left + slot * g + slot * 0.1 + bar * s
            y = top + plot_h - tall
            out.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{bar * 0.92:.1f}" '
                       f'height="{tall:.1f}" fill="{COLOURS[s % len(COLOURS)]}"/>')
            out.append(f'<text x="{x + bar * 0.46:.1f}" y="{y - 3:.1f}" font-size="9" '
                       f'text-anchor="middle">{values[g]:.3g}</text>')
    for s, name in enumerate(series):
        x = left + s * 140
        out.append(f'<rect x="{x}" y="30" width="11" height="11" fill="{COLOURS[s % len(COLOURS)]}"/>')
        out.append(f'<text x="{x + 16}" y="40">{name}</text>')
    out.append("</svg>\n")
    with open(path, "w") as file:
        file.write("\n".join(out))
