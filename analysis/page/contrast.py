"""Colours that stay readable: a look's colour, moved until it stands out from the page.

Contrast is WCAG 2.2's ratio of luminances; 3 is what it asks of a graphic (1.4.11), and a dark page
needs more for a thin line to be seen. Okabe and Ito's orange and sky blue have 2.2 on white, so
there they are darkened, and blue is lightened on the dark page; the hue stays.
"""

LIGHT, DARK = "#ffffff", "#14171c"  # the page's grounds, as in report/page.css
ON_LIGHT, ON_DARK = 3.0, 4.5
_STEPS = 50

Channels = tuple[float, float, float]


def on_both(colour: str) -> tuple[str, str]:
    """The colour for the light page and for the dark one."""
    return readable(colour, LIGHT, ON_LIGHT), readable(colour, DARK, ON_DARK)


def readable(colour: str, ground: str, least: float) -> str:
    """`colour`, mixed with black or white by as little as gives `least` against `ground`."""
    away = "#000000" if _luminance(ground) > 0.5 else "#ffffff"
    mixtures = (_mixed(colour, away, step / _STEPS) for step in range(_STEPS + 1))
    return next(mixed for mixed in mixtures if ratio(mixed, ground) >= least)


def ratio(one: str, other: str) -> float:
    """WCAG's contrast of two colours, 1 to 21."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in _channels(colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _mixed(colour: str, other: str, share: float) -> str:
    pairs = zip(_channels(colour), _channels(other), strict=True)
    return "#" + "".join(f"{round(255 * (a + share * (b - a))):02x}" for a, b in pairs)


def _channels(colour: str) -> Channels:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue
