"""How often intervals hold the truth, and how wide they are: `python -m benchmarks.intervals`.

Members' true shares are beta distributed (mean as named, correlation of items within a member .05,
.15 or .3), with 6 or 30 items each; `lowest` is the coverage of the worst of these six. Cosines
are 1 minus a gamma variable. Shares of an effect are of an arm that keeps .9 of a strong or a weak
one; `apart`: of a weak one, whose size in a member says nothing of what the arm does there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import numpy as np
from scipy.special import betaincinv, expit, logit, ndtr, ndtri, stdtrit

from oocr import stats
from oocr.intervals import SHARE, SIGNED, Interval, mean_interval

Ends = tuple[np.ndarray, np.ndarray]
Method = Callable[[np.ndarray, int], Ends]

MEMBERS = (3, 4, 6, 10, 20)
MEANS = (0.05, 0.5, 0.95)
CORRELATIONS = (0.05, 0.15, 0.3)
ITEMS = (6, 30)
TRIALS = 1000
Z = float(ndtri(0.975))
RNG = np.random.default_rng(0)


def shares(mean: float, correlation: float, members: int, trials: int = TRIALS) -> np.ndarray:
    """True shares of members [trial, member]."""
    size = (1 - correlation) / correlation
    return RNG.beta(size * mean, size * (1 - mean), (trials, members))


def parts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean and its squared standard error per trial, and Student's t."""
    members = values.shape[1]
    return values.mean(1), values.var(1, ddof=1) / members, float(stdtrit(members - 1, 0.975))


def resampled(statistic: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> Ends:
    """The bootstrap that was used before: stretched below six members, else expanded."""
    members = values.shape[1]
    counts = RNG.multinomial(members, [1 / members] * members, 1000) / members  # [draw, member]
    value, draws = statistic(np.full((1, members), 1 / members))[:, 0], statistic(counts)
    reach = stdtrit(members - 1, 0.975) * np.sqrt(members / (members - 1))
    tail, stretch = (ndtr(-reach), 1.0) if members >= 6 else (0.025, reach / Z)
    low, high = np.quantile(draws, [tail, 1 - tail], axis=1)
    return value - stretch * (value - low), value + stretch * (high - value)


def bootstrap(values: np.ndarray, _items: int) -> Ends:
    return resampled(lambda counts: values @ counts.T, values)


def student(values: np.ndarray, _items: int) -> Ends:
    mean, square, t = parts(values)
    return (mean - t * np.sqrt(square)).clip(0, 1), (mean + t * np.sqrt(square)).clip(0, 1)


def effective(values: np.ndarray, items: int) -> np.ndarray:
    """Sample size over the design effect, never above the number of items."""
    mean, square, _ = parts(values)
    least = mean * (1 - mean) / values.shape[1] / items + 1e-12
    size: np.ndarray = mean * (1 - mean) / np.maximum(square, least)
    return size


def on_logit(values: np.ndarray, items: int) -> Ends:
    mean, _, t = parts(values)
    size = effective(values, items).clip(1)
    middle = (mean * size + 0.5) / (size + 1)  # of all right or all wrong there is no logit
    reach = t / np.sqrt(size * middle * (1 - middle))
    low, high = expit(logit(middle) - reach), expit(logit(middle) + reach)
    return np.where(mean <= 0, 0, low), np.where(mean >= 1, 1, high)


def beta(values: np.ndarray, items: int) -> Ends:
    """Korn and Graubard 1998: Clopper and Pearson's, of the effective sample size."""
    mean, _, t = parts(values)
    size = np.where(
        mean * (1 - mean) > 0, effective(values, items), values.size / len(values) * items
    )
    size = size * (Z / t) ** 2
    right, wrong = (mean * size).clip(1e-9), ((1 - mean) * size).clip(1e-9)
    low, high = betaincinv(right, wrong + 1, 0.025), betaincinv(right + 1, wrong, 0.975)
    return np.where(mean <= 0, 0, low), np.where(mean >= 1, 1, high)


def plain_wilson(values: np.ndarray, _items: int) -> Ends:
    """Wilson's with the effective sample size alone."""
    mean, square, t = parts(values)
    inside = mean * (1 - mean)
    scale = t**2 * square / np.where(inside > 0, inside, 1)
    reach = np.sqrt(scale * inside + scale**2 / 4) / (1 + scale)
    return (mean + scale / 2) / (1 + scale) - reach, (mean + scale / 2) / (1 + scale) + reach


def ours(values: np.ndarray, items: int) -> Ends:
    return ends(mean_interval(row, bounds=SHARE, items=items) for row in values)


def ends(intervals: Iterator[Interval]) -> Ends:
    low, high = zip(*((interval.low, interval.high) for interval in intervals), strict=True)
    return np.array(low), np.array(high)


SHARE_METHODS: dict[str, Method] = {
    "bootstrap (before)": bootstrap,
    "Student, cut off": student,
    "Student on logits": on_logit,
    "beta, effective n": beta,
    "Wilson, effective n": plain_wilson,
    "oocr.stats": ours,
}


def covered(found: Ends, truth: float) -> np.ndarray:
    return (found[0] <= truth + 1e-9) & (found[1] >= truth - 1e-9)


def line(name: str, members: int, mean: str, hits: list[np.ndarray], widths: list[float]) -> None:
    lowest = min(float(group.mean()) for group in hits)
    share = float(np.mean([group.mean() for group in hits]))
    print(f"{name:20} {members:7d} {mean:>7} {share:9.3f} {lowest:7.3f} {np.mean(widths):7.3f}")


def head(title: str) -> None:
    print(f"\n{title}\n{'method':20} members    mean  coverage  lowest   width")


def share_table() -> None:
    head("Shares of items that are right")
    designs = list(product(CORRELATIONS, ITEMS))
    for mean, members in product(MEANS, MEMBERS):
        samples = [RNG.binomial(n, shares(mean, rho, members)) / n for rho, n in designs]
        for name, method in SHARE_METHODS.items():
            found = [method(group, n) for group, (_, n) in zip(samples, designs, strict=True)]
            hits = [covered(pair, mean) for pair in found]
            line(name, members, f"{mean:.2f}", hits, [float((b - a).mean()) for a, b in found])


def cosine_table() -> None:
    head("Cosines about .95, skewed to the left (lowest: of gamma shapes 2 and 6)")
    for members in MEMBERS:
        samples = [1 - RNG.gamma(k, 0.05 / k, (2 * TRIALS, members)) for k in (2, 6)]
        for name in ("Student, unbounded", "oocr.stats"):
            bounds = SIGNED if name == "oocr.stats" else None
            found = []
            for group in samples:
                if bounds:
                    found.append(ends(mean_interval(row, bounds=bounds) for row in group))
                else:
                    mean, square, t = parts(group)
                    found.append((mean - t * np.sqrt(square), mean + t * np.sqrt(square)))
            hits = [covered(pair, 0.95) for pair in found]
            line(name, members, "0.95", hits, [float((b - a).mean()) for a, b in found])


EFFECTS = {"strong": (0.2, 0.8, 0.9), "weak": (0.25, 0.55, 0.9), "apart": (0.25, 0.55, 0.0)}
"""Mean share of base and whole, and how far the part follows the whole from member to member."""


def effects(kind: str, members: int) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
    """The true share kept, and scores [trial, member] of part, whole and base, 30 items each."""
    low, high, follows = EFFECTS[kind]
    base, whole = shares(low, 0.1, members, 1500), shares(high, 0.1, members, 1500)
    part = base + 0.9 * (high - low) + follows * (whole - base - high + low)
    part = (part + RNG.normal(0, 0.05, base.shape)).clip(0, 1)
    truth = float((part - base).mean() / (whole - base).mean())
    scores = [RNG.binomial(30, rates) / 30 for rates in (part, whole, base)]
    return truth, scores[0], scores[1], scores[2]


def grid(values: np.ndarray) -> stats.Cells:
    """Cells of one seed and facet."""
    names = tuple(str(number) for number in range(len(values)))
    cell = values[:, None, None]
    return stats.Cells(cell, np.ones((len(values), 1)), names, ("",), SHARE)


def ratio_table() -> None:
    head("Shares of an effect, where the effect's own interval is above 0 (width: median)")
    for kind, members in product(EFFECTS, MEMBERS):
        truth, part, whole, base = effects(kind, members)
        mean, square, t = parts(whole - base)
        kept = mean > t * np.sqrt(square)
        a, b = (part - base)[kept], (whole - base)[kept]
        value = a.mean(1) / b.mean(1)
        error = np.sqrt(parts(a - value[:, None] * b)[1]) / b.mean(1)
        scores = zip(part[kept], whole[kept], base[kept], strict=True)
        found = {
            "bootstrap (before)": resampled(partial(share_kept, a, b), a),
            "linearized": (value - t * error, value + t * error),
            "oocr.stats (Fieller)": ends(stats.ratio(*map(grid, three)) for three in scores),
        }
        for name, (low, high) in found.items():
            hits, width = [covered((low, high), truth)], float(np.median(high - low))
            line(name, members, kind, hits, [width])


def share_kept(a: np.ndarray, b: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Ratio of means [trial, draw] for how often each member is drawn [draw, member]."""
    with np.errstate(all="ignore"):
        found: np.ndarray = (a @ counts.T) / (b @ counts.T)
    return found


if __name__ == "__main__":
    share_table()
    cosine_table()
    ratio_table()
