"""Numbers as a person writes them: probabilities, weights, factors, nats."""

import math

_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def format_nats(gain: float | None) -> str:
    r"""A visual information gain in nats, with its sign; empty if there is none.

    >>> format_nats(2.34), format_nats(-0.04), format_nats(-12.3), format_nats(None)
    ('+2.3\xa0nats', '0.0\xa0nats', '−12.3\xa0nats', '')
    """
    return "" if gain is None or not math.isfinite(gain) else f"{_format_signed(gain, '.1f')}\u00a0nats"


def format_weight(value: float) -> str:
    """The importance of a word of the question, with its sign.

    >>> format_weight(0.4123), format_weight(-0.00012), format_weight(0.0)
    ('+0.412', '−0.00012', '0')
    """
    return _format_signed(value, ".3g") if math.isfinite(value) else "not a number"


def _format_signed(value: float, form: str) -> str:
    text = f"{abs(value):{form}}"
    return text if float(text) == 0 else ("−" if value < 0 else "+") + text


def format_factor(ratio: float) -> str:
    """A large factor in few letters.

    >>> format_factor(23.4), format_factor(3112442379.0)
    ('23', '3 × 10⁹')
    """
    if ratio < 9999.5:
        return f"{ratio:.0f}"
    digit, power = f"{ratio:.0e}".split("e")
    return f"{digit} × 10{str(int(power)).translate(_SUPERSCRIPTS)}"


def format_number(value: float) -> str:
    """A number with three significant digits: ``0.0123``, ``4.1e-07``, ``not a number``.

    >>> format_number(12.345), format_number(0.0), format_number(-4.13e-7)
    ('12.3', '0', '−4.13e−07')
    """
    if math.isnan(value):
        return "not a number"
    return f"{value:.3g}".replace("-", "−")


def format_percent(probability: float | None) -> str:
    r"""A probability as a person writes it; never 0 % or 100 % unless it is exactly so.

    >>> format_percent(0.834), format_percent(0.0004), format_percent(0.99996), format_percent(None)
    ('83\xa0%', '<0.1\xa0%', '>99.9\xa0%', '')
    """
    if probability is None or not math.isfinite(probability):
        return ""
    hundred = probability * 100
    if 0 < hundred < 0.1:
        return "<0.1\u00a0%"
    if 99.9 < hundred < 100:
        return ">99.9\u00a0%"
    return f"{hundred:.1f}\u00a0%" if hundred < 9.95 or 99 < hundred < 100 else f"{hundred:.0f}\u00a0%"
