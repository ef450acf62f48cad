"""The plots: what each log was like minute by minute, drawn by a library as SVG, without scripts.

One picture serves browsers with and without JavaScript, in light and in dark: its style is within it, and the page
replaces it as a whole.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from xml.etree.ElementTree import Element, SubElement, tostring

import leather

from monitor.samples import Sample

WIDTH, HEIGHT = 400, 210
POINTS = 240  # more than that the eye does not tell apart at this width
_SPACE = 8  # around the plot, for labels at its corners

leather.theme.margin = 0.0
leather.theme.tick_font_size = leather.theme.tick_font_char_height = 12
leather.theme.tick_font_char_width = 7
leather.theme.legend_font_size = leather.theme.legend_font_char_height = 12
leather.theme.legend_gap = 8
leather.theme.default_series_colors = ["#2f7ed8", "#d9822b"]  # told apart by everybody, on white and on black

_STYLE = """
text { font-family: system-ui, sans-serif; fill: #59636e; }
rect[width="400"] { fill: none; }
.tick line { stroke: #d8dee4; }
.lines path { stroke-linejoin: round; }
.lines + .lines path { stroke-dasharray: 5 4; }
@media (prefers-color-scheme: dark) { text { fill: #9aa4af; } .tick line { stroke: #333b44; } }
"""


class Plot(StrEnum):
    """What is plotted."""

    WATERMARK = "watermark"
    GROWTH = "growth"
    LAG = "lag"


Points = list[tuple[datetime, float | None]]


@dataclass(frozen=True, slots=True)
class _Line:
    name: str
    points: Points


@dataclass(frozen=True, slots=True)
class _Unit:
    name: str
    size: float


_UNITS = (_Unit("d", 86_400), _Unit("h", 3600), _Unit("min", 60))
_SECOND = _Unit("s", 1)


def draw(plot: Plot, samples: Sequence[Sample]) -> bytes:
    """Draw a plot as an SVG document. Where there are not two points to draw a line between, it says so."""
    lines = [line for line in _LINES[plot](samples) if sum(value is not None for _, value in line.points) > 1]
    if not lines:
        return _document(_sentence("Nothing to plot yet: there is a point a minute."))
    values = [value for line in lines for _, value in line.points if value is not None]
    times = [time for line in lines for time, _ in line.points]
    chart = leather.Chart()
    chart.add_x_scale(min(times), max(times))
    chart.add_x_axis(tick_formatter=_clock(max(times) - min(times)))
    if plot is Plot.GROWTH:
        low, high = min(values), max(values)
        chart.add_y_scale(low, high) if low < high else chart.add_y_scale(max(low - 2, 0), high + 2)
        chart.add_y_axis(tick_formatter=_entries)
    else:
        unit = next((one for one in _UNITS if max(values) >= 3 * one.size), _SECOND)
        lines = [_Line(line.name, _divided(line.points, unit.size)) for line in lines]
        chart.add_y_scale(0, max(max(values) / unit.size, 4))
        chart.add_y_axis(tick_formatter=_in_unit(unit))
    for line in lines:
        chart.add_line(line.points, name=line.name)
    return _document(chart.to_svg_group(WIDTH, HEIGHT))


def _watermark(samples: Sequence[Sample]) -> list[_Line]:
    points: Points = [
        (_time(one), None if one.watermark is None else max(one.at_ms / 1000 - one.watermark, 0)) for one in samples
    ]
    return [_Line("age of the watermark", points)]


def _growth(samples: Sequence[Sample]) -> list[_Line]:
    verified: Points = [(_time(one), one.size) for one in samples]
    signed: Points = [(_time(one), max(one.shown, one.size)) for one in samples]
    return [_Line("re-hashed here", verified), _Line("signed by the log", signed)]


def _lag(samples: Sequence[Sample]) -> list[_Line]:
    points: Points = [(_time(one), None if one.lag_ms is None else one.lag_ms / 1000) for one in samples]
    return [_Line("since the log showed this head", points)]


_LINES: dict[Plot, Callable[[Sequence[Sample]], list[_Line]]] = {
    Plot.WATERMARK: _watermark,
    Plot.GROWTH: _growth,
    Plot.LAG: _lag,
}


def _time(sample: Sample) -> datetime:
    # The library compares times with ``datetime.min``, which has no time zone.
    return datetime.fromtimestamp(sample.at_ms / 1000, UTC).replace(tzinfo=None)


def _divided(points: Points, by: float) -> Points:
    return [(time, None if value is None else value / by) for time, value in points]


Format = Callable[[float, int, int], str]


def _in_unit(unit: _Unit) -> Format:
    return lambda value, _index, _count: f"{value:g} {unit.name}"


def _entries(value: float, _index: int, _count: int) -> str:
    if value != int(value):
        return ""
    return f"{int(value):,}" if value < 10**10 else f"{value:.4g}"


def _clock(span: timedelta) -> Callable[[datetime, int, int], str]:
    return lambda time, _index, _count: time.strftime("%H:%M" if span < timedelta(days=2) else "%d %b")


def _sentence(text: str) -> Element:
    found = Element("text", x=str(WIDTH // 2), y=str(HEIGHT // 2))
    found.set("text-anchor", "middle")
    found.text = text
    return found


def _document(content: Element) -> bytes:
    box = f"{-_SPACE} {-2 * _SPACE} {WIDTH + 4 * _SPACE} {HEIGHT + 3 * _SPACE}"
    svg = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=box)
    SubElement(svg, "style").text = _STYLE
    svg.append(content)
    return tostring(svg)
