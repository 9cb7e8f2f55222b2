"""Lays out blocks as one HTML file: hand-written style, pictures inside, light and dark, no script."""

import base64
from collections.abc import Sequence
from html import escape

from cappuccino_ml.reports.blocks import Block, Facts, Link, Picture, Points, Section, Table, Text, Tone

_STYLE = """
:root { --page: #f6f5f2; --card: #ffffff; --ink: #1e1e1e; --quiet: #63625e; --line: #e2e0da; --strong: #eef4fa;
  --accent: #0072b2; --good: #00694d; --bad: #a83200; --warning: #8a5a00; --warning-back: #fdf3dc; }
@media (prefers-color-scheme: dark) {
  :root { --page: #16171a; --card: #1f2125; --ink: #e8e6e1; --quiet: #a3a19b; --line: #34363c; --strong: #22303d;
    --accent: #6bb8ea; --good: #4cc9a0; --bad: #ff8a5c; --warning: #f0c05a; --warning-back: #322a17; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 28px; margin: 0; letter-spacing: -0.02em; }
h2 { font-size: 19px; margin: 0 0 14px; }
h3 { font-size: 14.5px; margin: 0 0 6px; }
h2 span { color: var(--quiet); font-weight: 400; margin-right: 8px; }
p { margin: 10px 0; max-width: 85ch; }
ul { margin: 8px 0 14px; padding-left: 20px; max-width: 95ch; }
.subtitle { color: var(--quiet); margin: 2px 0 16px; }
.lead p { padding: 10px 14px; border-left: 4px solid currentColor; background: var(--card); max-width: none; }
.lead p.warning { background: var(--warning-back); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(215px, 1fr)); gap: 12px; margin: 18px 0; }
.tile, section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.tile { padding: 12px 16px; }
.tile b { display: block; font-size: 25px; line-height: 1.3; letter-spacing: -0.02em; }
.tile small { color: var(--quiet); font-size: 12.5px; display: block; }
section { padding: 20px 22px; margin: 16px 0; }
.good { color: var(--good); font-weight: 600; } .bad { color: var(--bad); font-weight: 600; }
.warning { color: var(--warning); font-weight: 600; } .quiet, figcaption, .caption { color: var(--quiet); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 8px 0; width: 100%; font-size: 13.5px; }
th { text-align: right; font-weight: 600; color: var(--quiet); white-space: nowrap; }
th, td { padding: 5px 10px; border-bottom: 1px solid var(--line); vertical-align: top; }
td { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.left, td.left { text-align: left; white-space: normal; }
table.narrow { width: auto; }
tr.strong td { background: var(--strong); font-weight: 600; }
.caption, figcaption { font-size: 12.5px; margin: 4px 0 12px; max-width: 100ch; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0 0 12px; }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 18px 0 6px; }
img { display: block; width: 100%; height: auto; border-radius: 6px; border: 1px solid var(--line); background: #fff; }
a { color: var(--accent); }
@media (max-width: 640px) {
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; } section { padding: 14px; }
  main { padding: 18px 10px 40px; } th.left, td.left { min-width: 9em; }
  img { width: 680px; max-width: none; } }
@media print { body { background: #fff; } section, .tile { break-inside: avoid; } }
"""


def document(
    *,
    title: str,
    subtitle: str,
    lead: Sequence[Text],
    tiles: Sequence[tuple[str, str, str, Tone]],
    sections: Sequence[Section],
    refresh_s: int | None = None,
) -> str:
    """The whole file; the same arguments give the same text. With `refresh_s` a browser reads it again so often."""
    body = [f"<h1>{escape(title)}</h1>", f'<p class="subtitle">{escape(subtitle)}</p>', '<div class="lead">']
    body += [_block(text) for text in lead]
    body += ["</div>", '<div class="tiles">']
    body += [
        f'<div class="tile"><small>{escape(name)}</small><b class="{tone}">{escape(value)}</b>'
        f"<small>{escape(note)}</small></div>"
        for name, value, note, tone in tiles
    ]
    body.append("</div>")
    for number, section in enumerate(sections, start=1):
        body += ["<section>", f"<h2><span>{number}</span>{escape(section.title)}</h2>"]
        body += [_block(block) for block in section.blocks]
        body.append("</section>")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        + (f'<meta http-equiv="refresh" content="{refresh_s}">\n' if refresh_s else "")
        + f"<title>{escape(f'{title}: {subtitle}')}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def _block(block: Block) -> str:
    match block:
        case Text():
            return f'<p class="{block.tone}">{escape(block.words)}</p>'
        case Points():
            return f"<ul>{''.join(f'<li>{escape(row)}</li>' for row in block.rows)}</ul>"
        case Facts():
            rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in block.rows)
            return f"<dl>{rows}</dl>"
        case Link():
            return f'<p><a href="{escape(block.url)}">{escape(block.name)}</a></p>'
        case Picture():
            data = base64.b64encode(block.path.read_bytes()).decode()
            return (
                f"<figure><h3>{escape(block.heading)}</h3>"
                f'<div class="scroll"><img alt="{escape(block.caption)}" src="data:image/png;base64,{data}"></div>'
                f"<figcaption>{escape(block.caption)}</figcaption></figure>"
            )
        case Table():
            return _table(block)


def _table(block: Table) -> str:
    def cell(tag: str, index: int, words: str) -> str:
        side = ' class="left"' if index in block.left else ""
        return f"<{tag}{side}>{escape(words)}</{tag}>"

    def line(index: int, row: Sequence[str]) -> str:
        mark = ' class="strong"' if index in block.strong else ""
        return f"<tr{mark}>{''.join(cell('td', place, words) for place, words in enumerate(row))}</tr>"

    head = "".join(cell("th", index, words) for index, words in enumerate(block.header))
    rows = "".join(line(index, row) for index, row in enumerate(block.rows))
    caption = f'<p class="caption">{escape(block.caption)}</p>' if block.caption else ""
    narrow = ' class="narrow"' if len(block.header) == 2 else ""
    return (
        f'<div class="scroll"><table{narrow}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{caption}'
    )
