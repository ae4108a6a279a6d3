"""The search for the smallest form: fit on rows to fit, choose on val, report on test once.

B bytes of a form, d numbers after the transform.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from sightline.compressing.candidates import (
    WITHOUT_FAISS,
    QuantizerName,
    Spec,
    candidate_specs,
    default_budgets,
    has_faiss,
    learned_spec,
)
from sightline.compressing.fitting import Fitted, Fitter
from sightline.compressing.judging import Trial, difference, judge
from sightline.compressing.outcome import Search
from sightline.compressing.target import Target
from sightline.errors import DataError

Say = Callable[[str], object]
TrainLearned = Callable[[int, QuantizerName], nn.Module]
"""From the numbers d and the quantiser's name to a trained encoder."""


@dataclass(frozen=True)
class SearchSettings:
    """Which sizes and learned forms are tried."""

    budgets: tuple[int, ...] | None = None
    """Bytes; None: default_budgets."""
    train_learned: TrainLearned | None = None
    """What trains an encoder; None: no learned forms."""
    learned_tries: int = 3
    """Sizes from the best baseline's down that encoders are trained for, while one is enough."""


def find_smallest(
    target: Target,
    fitter: Fitter,
    val: Trial,
    test: Trial | None,
    *,
    settings: SearchSettings | None = None,
    say: Say = print,
) -> Search:
    """The smallest form that keeps the target on val, judged on test with all of its size.

    Of each family (transform and quantiser) sizes are bisected, as if more bytes never kept less;
    sizes above the smallest that was found are passed over. Of equal sizes the higher recall wins.
    Learned encoders are trained for the best baseline's size and those just below it only.
    The target may be met by chance on val, since many forms are tried: `verdict` says whether test
    agrees. Raises DataError where the trials do not measure the target's k.
    """
    for trial in (val, test):
        if trial is not None and target.k not in trial.ks:
            raise DataError(
                f"Recall@{target.k} is not measured.",
                expected=f"{target.k} among the k of the trial",
                got=", ".join(map(str, trial.ks)),
            )
    settings = settings or SearchSettings()
    state = _State(target, fitter, val, say)
    if not has_faiss():
        state.note(WITHOUT_FAISS)
    budgets = tuple(sorted(settings.budgets or default_budgets(fitter.dimension)))
    specs = candidate_specs(fitter.dimension, budgets)
    for family in _families(specs):
        _bisect(state, [one for one in specs if one.family == family])
    # Nothing above is reported unless all forms of its size are: else the choice could hide one.
    state.judge_all(one for one in specs if one.bytes == state.size)
    if settings.train_learned is not None and state.size is not None:
        _try_learned(state, budgets, settings.train_learned, tries=settings.learned_tries)
    state.choose()
    if test is not None:
        _report(state, specs, test)
    return state.search


class _State:
    """What the search knows so far; codecs above the smallest size that meets are let go."""

    def __init__(self, target: Target, fitter: Fitter, val: Trial, say: Say) -> None:
        self.search = Search(target, fitter.dimension)
        self.target, self.fitter, self.val, self.say = target, fitter, val, say
        self.size: int | None = None
        self.fitted: dict[Spec, Fitted] = {}

    def note(self, sentence: str) -> None:
        self.search.notes.append(sentence)
        self.say(sentence)

    def codec(self, spec: Spec) -> Fitted:
        return self.fitted[spec] if spec in self.fitted else self.fitter.fit(spec)

    def meets(self, spec: Spec) -> bool:
        """Whether a form meets the target on val; it is fitted where it was not yet."""
        if spec not in self.search.val:
            self.take(self.fitter.fit(spec))
        return self._judged_well(spec)

    def take(self, fitted: Fitted) -> bool:
        """Judge a fitted form on val, and keep what may be chosen."""
        spec, k = fitted.spec, self.target.k
        found = self.search.val[spec] = judge(fitted, self.val)
        well = self._judged_well(spec)
        self.say(
            f"{spec.bytes} bytes, {spec.name}: recall@{k} {found.estimates[k].value:.4f}, at least "
            f"{found.lower[k]:.4f}{', meets the target' if well else ''}"
        )
        if well and (self.size is None or spec.bytes < self.size):
            self.size = spec.bytes
        if spec.transform == "learned" or self.size in (None, spec.bytes):
            self.fitted[spec] = fitted
        self.fitted = {
            one: codec
            for one, codec in self.fitted.items()
            if one.transform == "learned" or one.bytes == self.size
        }
        return well

    def judge_all(self, specs: Iterable[Spec]) -> None:
        for spec in specs:
            self.meets(spec)

    def choose(self) -> None:
        """The smallest form that meets the target, or the one of the highest recall.

        Of equal sizes the higher recall wins, a learned form only where chance does not explain it.
        """
        k, judged = self.target.k, self.search.val
        met = [one for one in judged if self._judged_well(one)]
        if met:
            ordered = sorted(met, key=lambda one: (one.bytes, -judged[one].estimates[k].value, one))
            best = ordered[0]
            plain = [
                one for one in ordered if one.bytes == best.bytes and one.transform != "learned"
            ]
            if best.transform == "learned" and plain:
                gain = difference(judged[best], judged[plain[0]], k, self.val)
                best = best if gain.low > 0 else plain[0]
            self.search.chosen = self.search.best = self.codec(best)
        else:
            best = max(judged, key=lambda one: (judged[one].estimates[k].value, -one.bytes))
            self.search.best = self.codec(best)

    def _judged_well(self, spec: Spec) -> bool:
        return self.search.val[spec].meets(self.target.k, self.target.recall)


def _families(specs: Sequence[Spec]) -> list[tuple[str, str]]:
    """Each family once, those that are usually good and fast first, those slow to fit last.

    Of the slow ones the rotated form comes first: what it needs no more bytes for, the plain one
    is tried once at, and seldom below.
    """
    quick = {"pca": 0, "raw": 1, "truncation": 2, "random": 2, "pca-whiten": 2}

    def order(family: tuple[str, str]) -> tuple[bool, int, tuple[str, str]]:
        transform, quantizer = family
        rank = {"int8": 0, "binary": 2}.get(quantizer, 1)
        return quantizer == "pq", quick.get(transform, 0) + rank, family

    return sorted({one.family for one in specs}, key=order)


def _bisect(state: _State, family: Sequence[Spec]) -> None:
    """Find the smallest of a family that meets the target, where it is not above the best size."""
    rest = [one for one in family if state.size is None or one.bytes <= state.size]
    # The largest comes first, since most families end with it; one that is known to be good and
    # slow to fit is begun in the middle.
    hopeful = state.size is not None and bool(rest) and rest[0].transform == "opq"
    if not rest or not (hopeful or state.meets(rest[-1])):
        return
    low, high = 0, len(rest) - (0 if hopeful else 1)
    while low < high:
        middle = (low + high) // 2
        if state.meets(rest[middle]):
            high = middle
        else:
            low = middle + 1


def _try_learned(state: _State, budgets: Sequence[int], train: TrainLearned, *, tries: int) -> None:
    assert state.size is not None
    sizes = [one for one in budgets if one <= state.size][::-1][:tries]
    for size in sizes:
        spec = learned_spec(state.fitter.dimension, size)
        if spec is None:
            continue
        state.say(f"training {spec.name}, {size} bytes")
        start = time.perf_counter()
        encoder = train(spec.size, spec.quantizer)
        seconds = time.perf_counter() - start
        if not state.take(state.fitter.fit_learned(spec, encoder, seconds=seconds)):
            return


def _report(state: _State, specs: Sequence[Spec], test: Trial) -> None:
    """Judge on test what was chosen, learned forms, and all baselines of the same bytes, once."""
    search = state.search
    assert search.best is not None
    learned = [one for one in search.val if one.transform == "learned"]
    sizes = {search.best.spec.bytes, *(one.bytes for one in learned)}
    for spec in sorted({search.best.spec, *learned, *(one for one in specs if one.bytes in sizes)}):
        fitted = search.best if spec == search.best.spec else state.codec(spec)
        search.test[spec] = judge(fitted, test)
