"""Superpixels: an image cut into connected pieces of like colour, by simple linear iterative clustering.

Achanta et al. 2012 (SLIC, doi 10.1109/TPAMI.2012.120): k-means in colour and place together. A piece's centre is compared only with pixels
near its place in a regular grid, so the time doesn't grow with the number of pieces; afterwards fragments are given to a neighbour. Their
colours are CIELAB; here they are the image's channels as they come (normalised, any number), by their standard deviation.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from vlcam.contracts import InputError


def slic(
    image: Float[Tensor, "1 channels height width"], *, pieces: int = 100, compactness: float = 0.5, rounds: int = 10
) -> Int[Tensor, "height width"]:
    """The number of the piece that each pixel belongs to, from 0 up in reading order; all pieces are connected by their sides.

    About ``pieces`` pieces are made, of about ``sqrt(pixels / pieces)`` pixels a side, called S here. The squared distance of a pixel
    from a piece is the squared difference of colour, in standard deviations of the image's colours, and ``compactness**2`` times the
    squared distance in units of S: the larger, the squarer the pieces. Pieces of less than a quarter of ``S**2`` are given to
    the piece beside them. The result is the same for the same image; nothing is drawn at random.

    Raises InputError for no pieces or more than pixels, or a compactness that isn't above 0.
    """
    height, width = image.shape[-2:]
    if not 1 <= pieces <= height * width or not compactness > 0 or rounds < 1:
        raise InputError(
            f"pieces={pieces}, compactness={compactness} and rounds={rounds} were given for {height} x {width} pixels; expected 1 "
            "to as many pieces as pixels, a compactness above 0 and at least one round"
        )
    side = (height * width / pieces) ** 0.5
    rows, columns = max(1, round(height / side)), max(1, round(width / side))
    points = _make_points(image, side / compactness)
    down = (torch.arange(height, device="cpu") * rows // height)[:, None].expand(height, width).flatten()
    right = (torch.arange(width, device="cpu") * columns // width).expand(height, width).flatten()
    candidates = torch.stack(
        [
            (down + i).clamp(0, rows - 1) * columns + (right + j).clamp(0, columns - 1)
            for i in (0, -1, 1)
            for j in (0, -1, 1)
        ]
    )
    labels = down * columns + right
    for _ in range(rounds):
        count = torch.bincount(labels, minlength=rows * columns).clamp_min(1)
        centres = points.new_zeros(rows * columns, points.shape[1]).index_add_(0, labels, points) / count[:, None]
        best = torch.stack([(points - centres[those]).square().sum(1) for those in candidates]).argmin(0)
        labels = candidates.gather(0, best[None])[0]
    whole = _merge_small_parts(labels.view(height, width).numpy(), max(1, int(side * side / 4)))
    return torch.from_numpy(whole).to(image.device)


def segment_means(
    heat: Float[Tensor, "*targets height width"], segments: Int[Tensor, "height width"]
) -> Float[Tensor, "*targets pieces"]:
    """Each piece's mean of a map, pixels that are NaN left out; NaN for pieces that have no others, or no pixel at all.

    >>> segment_means(torch.tensor([[1.0, 3.0, 5.0]]), torch.tensor([[0, 0, 1]])).tolist()
    [2.0, 5.0]
    """
    flat, place = heat.flatten(-2), segments.flatten().to(heat.device)
    pieces = int(place.max()) + 1
    seen = ~flat.isnan()
    zeros = flat.new_zeros(*flat.shape[:-1], pieces)
    total = zeros.index_add(-1, place, flat.nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf))
    return total / zeros.index_add(-1, place, seen.to(flat.dtype))


def _make_points(image: Float[Tensor, "1 channels height width"], unit: float) -> Float[Tensor, "pixels dimensions"]:
    """Every pixel's colour in standard deviations and its place in units of ``unit`` pixels, float64 on the CPU."""
    colours = image[0].detach().double().cpu().flatten(1).T
    colours = (colours - colours.mean(0)) / colours.var(0, correction=0).mean().sqrt().clamp_min(1e-12)
    y, x = torch.meshgrid(
        *(torch.arange(size, dtype=torch.float64, device="cpu") for size in image.shape[-2:]), indexing="ij"
    )
    return torch.cat([colours, y.reshape(-1, 1) / unit, x.reshape(-1, 1) / unit], 1)


def _merge_small_parts(labels: Int[np.ndarray, "height width"], least: int) -> Int[np.ndarray, "height width"]:
    """Connected parts, numbered in reading order; those smaller than ``least`` join the part to their left or above (the first: none)."""
    height, width = labels.shape
    given, new = labels.tolist(), np.full(labels.shape, -1)
    found = new.tolist()
    number = 0
    for i in range(height):
        for j in range(width):
            if found[i][j] >= 0:
                continue
            beside = found[i][j - 1] if j else (found[i - 1][j] if i else -1)
            label, part = given[i][j], [(i, j)]
            found[i][j] = number
            for a, b in part:  # it grows while it is gone through
                for c, d in ((a - 1, b), (a + 1, b), (a, b - 1), (a, b + 1)):
                    if 0 <= c < height and 0 <= d < width and found[c][d] < 0 and given[c][d] == label:
                        found[c][d] = number
                        part.append((c, d))
            if len(part) < least and beside >= 0:
                for a, b in part:
                    found[a][b] = beside
            else:
                number += 1
    return np.array(found)
