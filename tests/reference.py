"""Slow textbook twins of the methods: plain loops over Python numbers, written from the papers' formulas and from nothing else.

Activations and gradients are nested lists ``[channel][row][column]`` of one target; maps are ``[row][column]``.
"""

from collections.abc import Callable

Stack = list[list[list[float]]]
Plane = list[list[float]]


def _weighted(weights: list[float], activations: Stack) -> Plane:
    rows, columns = len(activations[0]), len(activations[0][0])
    plane = [[0.0] * columns for _ in range(rows)]
    for k, weight in enumerate(weights):
        for i in range(rows):
            for j in range(columns):
                plane[i][j] += weight * activations[k][i][j]
    return plane


def alphas(gradients: Stack) -> list[float]:
    """Selvaraju et al. 2017, eq. 1: alpha_k = 1/Z sum_i sum_j dy/dA_k_ij."""
    result = []
    for channel in gradients:
        total, count = 0.0, 0
        for row in channel:
            for value in row:
                total += value
                count += 1
        result.append(total / count)
    return result


def contributions(activations: Stack, gradients: Stack) -> list[float]:
    result = []
    for weight, channel in zip(alphas(gradients), activations, strict=True):
        total = 0.0
        for row in channel:
            for value in row:
                total += weight * value
        result.append(total)
    return result


def gradcam(activations: Stack, gradients: Stack) -> Plane:
    """Selvaraju et al. 2017, eq. 2, without the ReLU."""
    return _weighted(alphas(gradients), activations)


def counterfactual(activations: Stack, gradients: Stack) -> Plane:
    """Selvaraju et al. 2017, on counterfactual explanations: the gradients negated before they are averaged."""
    return _weighted(alphas([[[-value for value in row] for row in channel] for channel in gradients]), activations)


def _elementwise(activations: Stack, gradients: Stack, weight: Callable[[float], float]) -> Plane:
    rows, columns = len(activations[0]), len(activations[0][0])
    plane = [[0.0] * columns for _ in range(rows)]
    for k in range(len(activations)):
        for i in range(rows):
            for j in range(columns):
                plane[i][j] += weight(gradients[k][i][j]) * activations[k][i][j]
    return plane


def hirescam(activations: Stack, gradients: Stack) -> Plane:
    """Draelos & Carin 2020: the elementwise product, summed over channels."""
    return _elementwise(activations, gradients, lambda gradient: gradient)


def layercam(activations: Stack, gradients: Stack) -> Plane:
    """Jiang et al. 2021: every place of every channel is weighted by the positive part of its own gradient."""
    return _elementwise(activations, gradients, lambda gradient: max(gradient, 0.0))


def gradcampp(activations: Stack, gradients: Stack) -> Plane:
    """Chattopadhay et al. 2018, for the score exp(y), the common factor exp(y) left out."""
    weights = []
    for channel, slopes in zip(activations, gradients, strict=True):
        total = sum(sum(row) for row in channel)
        weight = 0.0
        for row in slopes:
            for gradient in row:
                bottom = 2 * gradient**2 + total * gradient**3
                if bottom != 0:
                    weight += gradient**2 / bottom * max(gradient, 0.0)
        weights.append(weight)
    return _weighted(weights, activations)


def xgradcam(activations: Stack, gradients: Stack) -> Plane:
    """Fu et al. 2020: every place's gradient counts by its share of the channel's activation."""
    weights = []
    for channel, slopes in zip(activations, gradients, strict=True):
        total = sum(sum(row) for row in channel)
        weight = 0.0
        for row, slope_row in zip(channel, slopes, strict=True):
            for value, gradient in zip(row, slope_row, strict=True):
                if total != 0:
                    weight += value / total * gradient
        weights.append(weight)
    return _weighted(weights, activations)


METHODS = {
    "gradcam": gradcam,
    "counterfactual": counterfactual,
    "hirescam": hirescam,
    "layercam": layercam,
    "gradcam++": gradcampp,
    "xgradcam": xgradcam,
}


def auroc(positives: list[float], negatives: list[float]) -> float:
    """The probability that a positive scores higher than a negative, ties half: every pair is looked at."""
    won = 0.0
    for positive in positives:
        for negative in negatives:
            won += 1.0 if positive > negative else 0.5 if positive == negative else 0.0
    return won / (len(positives) * len(negatives))
