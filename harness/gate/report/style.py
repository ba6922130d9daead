# SPDX-License-Identifier: MIT
"""The page's style: light and dark, one column on a phone, nothing loaded."""

LIGHT = {
    "page": "#ffffff",
    "panel": "#f4f6f8",
    "line": "#c9d1d9",
    "text": "#1b1f24",
    "muted": "#515962",
    "link": "#0b5cad",
    "good": "#116329",
    "bad": "#a40e26",
    "warn": "#7a4a00",
    "cma": "#2f6fb3",
    "other": "#8b949e",
    "holds": "#dfe5eb",
    "changed": "#b34700",
}
DARK = {
    "page": "#10151b",
    "panel": "#1a212a",
    "line": "#3d4753",
    "text": "#e6e9ed",
    "muted": "#a5afba",
    "link": "#79b8ff",
    "good": "#56d364",
    "bad": "#ff8a80",
    "warn": "#e3b341",
    "cma": "#4f9be8",
    "other": "#768390",
    "holds": "#2b3541",
    "changed": "#ffa657",
}

_RULES = """
* { box-sizing: border-box; }
html { color-scheme: light dark; -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 1rem; max-width: 76rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere;
}
h1, h2, h3 { line-height: 1.25; margin: 0 0 .5rem; }
h1 { font-size: 1.6rem; }
h2 { font-size: 1.25rem; margin-top: 2rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin-top: 1rem; }
p, ul, dl { margin: 0 0 .75rem; }
ul { padding-left: 1.25rem; }
a { color: var(--link); }
code, pre, svg text { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
code { font-size: .9em; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none; padding: 0; }
.verdict {
  border-left: .5rem solid var(--tone); background: var(--panel); padding: 1rem; margin: 0 0 1rem;
}
.verdict strong { color: var(--tone); }
.verdict p { margin: 0; }
.good { --tone: var(--good); }
.bad { --tone: var(--bad); }
.warn { --tone: var(--warn); }
.tone { color: var(--tone); font-weight: 600; }
.muted { color: var(--muted); }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .15rem 1rem; }
dt { color: var(--muted); }
dd { margin: 0; }
article { border: 1px solid var(--line); border-radius: .4rem; padding: .75rem 1rem; }
article + article { margin-top: 1rem; }
article h3 { margin-top: 0; }
.scroll {
  overflow-x: auto; background: var(--panel); border-radius: .3rem; margin: 0 0 .75rem;
}
.scroll:focus-visible { outline: 2px solid var(--link); }
pre { margin: 0; padding: .6rem .75rem; font-size: .8rem; line-height: 1.4; width: max-content; }
summary { cursor: pointer; margin-bottom: .5rem; }
table { border-collapse: collapse; min-width: 100%; overflow-wrap: normal; }
th, td { text-align: left; padding: .35rem .75rem; border-bottom: 1px solid var(--line); }
td { vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td code { white-space: nowrap; }
.plus { color: var(--good); }
.minus { color: var(--bad); }
.place { color: var(--link); }
.maps { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr));
  gap: 1rem; }
.maps > div { min-width: 0; }
svg.map { display: block; width: 100%; max-width: 27rem; height: auto; }
svg text { font-size: 12px; fill: var(--text); }
svg text.name { font-weight: 700; }
svg text.place { fill: var(--muted); }
svg text.note { fill: var(--changed); font-weight: 700; }
svg .scope { fill: var(--panel); stroke: var(--line); }
svg .area { stroke: var(--page); stroke-width: .75; }
svg .holds { fill: var(--holds); }
svg .other { fill: var(--other); }
svg .cma { fill: var(--cma); }
svg .area.changed { fill: var(--changed); }
svg .holds.changed { fill: var(--holds); stroke: var(--changed); stroke-width: 2; }
svg .area.ghost { fill: none; stroke: var(--changed); stroke-width: 2; stroke-dasharray: 4 3; }
svg .lead { fill: none; stroke: var(--muted); }
svg .lead.changed { stroke: var(--changed); stroke-width: 1.5; }
@media (max-width: 40rem) {
  body { padding: .75rem; }
  dl { grid-template-columns: minmax(0, 1fr); }
  dd { margin-bottom: .4rem; }
  article { padding: .6rem; }
}
"""


def sheet() -> str:
    """All of it as CSS."""
    light, dark = (
        " ".join(f"--{name}: {colour};" for name, colour in colours.items())
        for colours in (LIGHT, DARK)
    )
    return (
        f":root {{ {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}{_RULES}"
    )
