"""RISE and Score-CAM: what a model says when only a part of its input is shown through a soft mask.

RISE draws the masks at random (Petsiuk et al. 2018, arXiv 1806.07421, eq. 6); Score-CAM takes the layer's own channels for masks (Wang et
al. 2020, arXiv 1910.01279, eq. 8 and algorithm 1). Both multiply the normalised image by the mask, so that what is hidden takes the
colour that preprocessing subtracts, and need no gradient. All targets are scored in the same runs, and images are made chunk by chunk.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from vlcam.contracts import InputError, Maps, PerturbationMethod, Subject, Target
from vlcam.engine.precision import widen
from vlcam.methods.head import HeadSubject
from vlcam.methods.occlusion import choose_batch_size


def make_rise(
    masks: int = 2000, cells: int = 7, keep: float = 0.5, seed: int = 0, batch: int | None = None
) -> PerturbationMethod:
    """RISE: the score with a random part of the image shown, averaged over the masks that show a pixel.

    With N masks M_n and E[M] = ``keep``, eq. 6 of the paper: ``S(i, j) = 1 / (keep N) sum_n w_n M_n(i, j)``. What w_n is follows the kind
    of score:

    - the log-probability of a word, an answer or a caption: its probability ``exp(y)``, as in the paper, so the map is an expected
      probability and never negative;
    - all else (logits, similarities, contrasts): ``y`` less its mean over the masks. Such scores have no zero of their own: adding the
      same number to all logits changes nothing in a model, but would add a constant to eq. 6, and much noise. The map is then the
      covariance of score and mask, ``Cov(y, M(i, j)) / keep``: signed, and in units of the score.

    Args:
        masks: how many. The paper takes 4000 (VGG-16) and 8000 (ResNet-50); noise falls with the square root.
        cells: rows and columns of the random grid that becomes a mask (the paper's 7).
        keep: the probability that a cell is shown (the paper's 0.5).
        seed: of the masks; the same seed gives the same masks on every device and for every ``batch``.
        batch: how many masked images are made at once; by default as many as fit 16 MiB, at most 64.

    Raises:
        InputError: a number is out of range (raised at once), or a cell would be smaller than a pixel (raised when maps are made).
    """
    if masks < 1 or cells < 1 or not 0 < keep < 1:
        raise InputError(
            f"masks={masks}, cells={cells} and keep={keep} were given; expected positive numbers and a probability between 0 and 1"
        )

    def function(subject: Subject) -> Maps:
        image = subject.image
        grids, shifts = draw_grids(image.shape[2], image.shape[3], masks, cells, keep, seed)
        rows = choose_batch_size(image, batch)
        seen = image.new_zeros(image.shape[2:], dtype=torch.float32)
        weighted = seen.new_zeros(len(subject.targets), *seen.shape)
        total = seen.new_zeros(len(subject.targets))
        spoken = torch.tensor([is_probability(target) for target in subject.targets], device=image.device)
        for first in range(0, masks, rows):
            part = slice(first, first + rows)
            shown = make_smooth_masks(
                grids[part].to(image.device), shifts[part].to(image.device), image.shape[2], image.shape[3]
            )
            scores = subject.scores((image * shown[:, None]).to(image.dtype)).float()
            weights = torch.where(spoken, scores.exp(), scores)
            weighted += torch.einsum("nt,nhw->thw", weights, shown)
            total += weights.sum(0)
            seen += shown.sum(0)
            subject.report(min(first + rows, masks), masks)
        centre = torch.where(spoken, 0, total / masks)
        return (weighted - centre[:, None, None] * seen) / (masks * keep)

    return PerturbationMethod(
        "rise",
        function,
        "RISE",
        "Petsiuk et al. 2018, arXiv 1806.07421",
        "eq. 6: sum_n w_n M_n / (N E[M]), w_n = exp(y_n) of log-probabilities, else y_n - mean(y)",
        relu=True,
        cost=f"{masks} runs",
    )


def is_probability(target: Target) -> bool:
    """Whether ``exp(score)`` of the target is a probability: its score is a log-probability, not a difference of two."""
    return target.measure == "log-probability" and target.kind != "contrast"


def draw_grids(
    height: int, width: int, masks: int, cells: int, keep: float, seed: int
) -> tuple[Float[Tensor, "masks cells cells"], Tensor]:
    """The random grids of 0 and 1, and how far each is shifted (rows and columns of pixels, less than a cell), ``(masks, 2)``."""
    if cells > min(height, width):
        raise InputError(
            f"cells={cells} was given for an input of {height} x {width}; expected at most a cell per pixel"
        )
    generator = torch.Generator().manual_seed(seed)
    grids = (torch.rand(masks, cells, cells, generator=generator, device="cpu") < keep).float()
    sizes = torch.tensor([-(-height // cells), -(-width // cells)], device="cpu")
    shifts = (torch.rand(masks, 2, generator=generator, dtype=torch.float64, device="cpu") * sizes).long()
    return grids, shifts


def make_smooth_masks(
    grids: Float[Tensor, "masks cells cells"], shifts: Tensor, height: int, width: int
) -> Float[Tensor, "masks height width"]:
    """Masks from grids: every grid is enlarged bilinearly to one cell more than the image, and cut out at its shift."""
    cells = grids.shape[1]
    rows = _make_interpolation(cells, -(-height // cells), grids)[
        shifts[:, :1] + torch.arange(height, device=grids.device)
    ]
    columns = _make_interpolation(cells, -(-width // cells), grids)[
        shifts[:, 1:] + torch.arange(width, device=grids.device)
    ]
    return rows @ grids @ columns.mT


def make_scorecam(batch: int | None = None) -> PerturbationMethod:
    """Score-CAM: channels weighted by the score of what they show of the image.

    Channel k, enlarged to the image and brought to 0...1, is the mask H_k; ``C_k = y(x H_k) - y(x_b)`` with the empty image x_b = 0
    (eq. 8); the map is ``sum_k alpha_k A_k`` with ``alpha = softmax(C)`` over the channels (algorithm 1). A channel that is the same
    everywhere has no H_k and weight 0. The score y is the target's own (logit or log-probability); where scores are large, the weight
    goes to very few channels, as in the paper's algorithm.

    Args:
        batch: how many masked images are made at once; by default as many as fit 16 MiB, at most 64.
    """

    def function(subject: Subject) -> Maps:
        image, activations = subject.image, subject.activations
        wide = widen(activations)
        low, high = wide.amin((2, 3)), wide.amax((2, 3))
        alive = (high > low)[0].nonzero()[:, 0]  # the only wait for the device
        if not len(alive):
            return wide.new_zeros(len(subject.targets), *wide.shape[2:])
        rows, found = choose_batch_size(image, batch), []
        base = subject.scores(torch.zeros_like(image))
        for part in alive.split(rows):
            # First enlarged, then brought to 0...1: the enlarged channel may miss the small one's extremes.
            large = F.interpolate(wide[:, part], tuple(image.shape[2:]), mode="bilinear", align_corners=False)
            least, most = large.amin((2, 3), keepdim=True), large.amax((2, 3), keepdim=True)
            spread = most - least
            shown = torch.where(spread > 0, (large - least) / torch.where(spread > 0, spread, 1), 0)
            found.append(subject.scores((image * shown[0][:, None]).to(image.dtype)))
            subject.report(sum(map(len, found)), len(alive))
        weights = (torch.cat(found) - base).to(wide.dtype).softmax(0)
        return torch.einsum("kt,kij->tij", weights, wide[0, alive])

    return PerturbationMethod(
        "score-cam",
        function,
        "Score-CAM",
        "Wang et al. 2020, arXiv 1910.01279",
        "algorithm 1: relu(sum_k alpha_k A_k), alpha = softmax_k(y(x H_k) - y(0))",
        relu=True,
        cost="one run for each channel of the layer",
    )


def score_layer_masks(subject: HeadSubject) -> Maps:
    """Score-CAM with the layer masked instead of the image, signed, ``(T, h, w)``: only what follows the layer runs for each channel.

    ``C_k = y(A H_k) - y(0)`` with H_k channel k brought to 0...1, and ``alpha = softmax(C)``, as in :func:`make_scorecam`.
    """
    with subject.open_head() as head:
        activations = head.activations
        low, high = activations.amin((2, 3)), activations.amax((2, 3))
        alive = (high > low)[0].nonzero()[:, 0]
        wide = widen(activations)
        if not len(alive):
            return subject.place(wide.new_zeros(len(subject.targets), *wide.shape[2:]))
        spread = (high - low)[0, alive, None, None]
        shown = (activations[0, alive] - low[0, alive, None, None]) / spread
        base = head.score(torch.zeros_like(activations))
        parts = [head.score(part[:, None] * activations) for part in shown.split(_AT_ONCE)]
        weights = (torch.cat(parts) - base).to(wide.dtype).softmax(0)
        return subject.place(torch.einsum("kt,kij->tij", weights, wide[0, alive]))


_AT_ONCE = 64
"""How many masked layers are made at once."""


def _make_interpolation(cells: int, size: int, like: Tensor) -> Float[Tensor, "pixels cells"]:
    """The matrix of bilinear interpolation from ``cells`` values to ``(cells + 1) * size``."""
    one = torch.eye(cells, dtype=like.dtype, device=like.device)[None]
    return F.interpolate(one, (cells + 1) * size, mode="linear", align_corners=False)[0].T


BUILT_IN = (
    make_rise(),
    make_scorecam(),
    PerturbationMethod(
        "layer-score-cam",
        score_layer_masks,
        "Score-CAM at the layer",
        "Wang et al. 2020, arXiv 1910.01279, at the layer",
        "relu(sum_k alpha_k A_k), alpha = softmax_k(y(A H_k) - y(0))",
        cost="one run, and one more of what follows the layer for each channel",
    ),
)
