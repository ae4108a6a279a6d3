"""The search for the smallest form: against every form, with queries by loops, and as ONNX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from sightline.compressing.candidates import Spec, candidate_specs
from sightline.compressing.finding import find_by_codes
from sightline.compressing.fitting import ArrayRows, Fitter
from sightline.compressing.judging import Judged, Trial, difference, judge, make_trial
from sightline.compressing.outcome import Search
from sightline.compressing.searching import SearchSettings, find_smallest
from sightline.compressing.table import report_rows, says_of, table_lines
from sightline.compressing.target import Target, parse_target
from sightline.errors import DataError, RunError, UsageError
from sightline.metrics.distance_blocks import Space
from sightline.models.codec import Codec
from sightline.models.vector_encoder import VectorEncoder, VectorEncoderConfig

Table = npt.NDArray[Any]
WIDTH = 24
BUDGETS = (4, 8, 12, 24, 48)


def cloud(rows: int, seed: int = 0) -> Table:
    random = np.random.default_rng(seed)
    values = random.normal(size=(rows, WIDTH)) * np.linspace(2, 0.3, WIDTH)
    turn = np.linalg.qr(np.random.default_rng(99).normal(size=(WIDTH, WIDTH)))[0]
    return np.asarray(values @ turn, np.float32)


def trial(split: str, seed: int, rows: int = 250) -> Trial:
    values = cloud(rows, seed)
    return make_trial(
        split, Space(values, values), ks=(5, 10), self_rows=np.arange(rows), held_out=rows
    )


@pytest.fixture(scope="module")
def fitter() -> Fitter:
    return Fitter(ArrayRows(cloud(500)), seed=3)


def search(fitter: Fitter, recall: float, **more: Any) -> Search:
    settings = SearchSettings(budgets=BUDGETS, **more.pop("settings", {}))
    more.setdefault("test", trial("test", 2))
    given = {"settings": settings, "say": lambda text: None, **more}
    return find_smallest(Target(5, recall), fitter, trial("val", 1), **given)


def plain_recall(codec: Codec, values: Table, k: int) -> Table:
    """By loops: the k nearest of each row by what codes stand for, among its k nearest."""
    decoded = codec.decode(codec.encode(torch.from_numpy(values))).double().numpy()
    asked = codec.project(torch.from_numpy(values)).double().numpy()
    found = []
    for row in range(len(values)):
        others = [one for one in range(len(values)) if one != row]
        near = sorted(others, key=lambda one, row=row: np.linalg.norm(values[one] - values[row]))
        got = sorted(others, key=lambda one, row=row: np.linalg.norm(decoded[one] - asked[row]))
        found.append(len(set(near[:k]) & set(got[:k])) / k)
    return np.array(found)


@pytest.mark.parametrize(
    "spec", [Spec(8, "pca", "int8", 8), Spec(48, "raw", "float16", WIDTH)], ids=lambda one: one.name
)
def test_a_form_is_judged_as_loops_do(fitter: Fitter, spec: Spec) -> None:
    here = trial("val", 1, rows=120)
    judged = judge(fitter.fit(spec), here)
    for k in (5, 10):
        wanted = plain_recall(fitter.fit(spec).codec, np.asarray(here.x.pool), k)
        np.testing.assert_allclose(judged.recalls[k], wanted, atol=0.21)
        assert judged.estimates[k].value == pytest.approx(wanted.mean(), abs=0.005)
        assert judged.lower[k] < judged.estimates[k].low
    assert judged.pool == {"rows": 120, "held_out": 120, "others": 0}


def test_codes_are_searched_in_the_order_of_what_they_stand_for(fitter: Fitter) -> None:
    codec = fitter.fit(Spec(12, "pca", "int8", 12)).codec
    pool = torch.from_numpy(np.concatenate([cloud(60, 4), cloud(60, 4)]))  # each row twice
    codes = codec.encode(pool)
    found = find_by_codes(codec, pool[:7], codes, 9)
    far = torch.cdist(codec.project(pool[:7]).double(), codec.decode(codes).double()).numpy()
    for query in range(7):
        order = sorted(range(120), key=lambda row, query=query: (round(far[query, row], 4), row))
        assert found.rows[query].tolist() == order[:9]
    with pytest.raises(DataError, match="not so many codes"):
        find_by_codes(codec, pool[:7], codes, 121)
    with pytest.raises(DataError, match="rescore"):
        find_by_codes(codec, pool[:7], codes, 3, rescore=0)


def test_bits_are_put_in_order_by_the_float_query(fitter: Fitter) -> None:
    codec = fitter.fit(Spec(3, "raw", "binary", WIDTH)).codec
    pool = torch.from_numpy(cloud(90, 4))
    codes = codec.encode(pool)
    quantizer: Any = codec.quantizer
    asked = (codec.project(pool[:5]) - quantizer.centre).numpy()
    signs = np.where(np.unpackbits(codes.numpy(), axis=1)[:, :WIDTH] > 0, 1.0, -1.0)
    found = find_by_codes(codec, pool[:5], codes, 4, rescore=3)
    for query in range(5):
        bits = np.where(asked[query] > 0, 1.0, -1.0)
        hamming = (signs != bits).sum(axis=1)
        kept = sorted(range(90), key=lambda row, hamming=hamming: (hamming[row], row))[:12]
        wanted = sorted(
            kept, key=lambda row, query=query: np.linalg.norm(asked[query] - signs[row])
        )
        assert found.rows[query].tolist() == wanted[:4]


@pytest.fixture(scope="module")
def every(fitter: Fitter) -> list[Judged]:
    """Every form, judged on val."""
    pytest.importorskip("faiss")
    val = trial("val", 1)
    return [judge(fitter.fit(spec), val) for spec in candidate_specs(WIDTH, BUDGETS)]


@pytest.mark.parametrize("recall", [0.3, 0.6, 0.8, 0.95])
def test_what_is_chosen_is_the_smallest_of_all(
    fitter: Fitter, every: list[Judged], recall: float
) -> None:
    found = search(fitter, recall)
    met = [one for one in every if one.lower[5] >= recall]
    chosen = found.require_met().spec
    assert chosen.bytes == min(one.spec.bytes for one in met)
    same = [one for one in met if one.spec.bytes == chosen.bytes]
    best = max(one.estimates[5].value for one in same)
    assert found.val[chosen].estimates[5].value == best
    # Every form of that size was asked on val, else the choice could hide one, and is reported.
    same_size = {one.spec for one in every if one.spec.bytes == chosen.bytes}
    assert same_size <= set(found.val)
    assert same_size <= set(found.test)
    assert len(found.val) < len(every), "and most were not fitted"


def test_test_chooses_nothing(fitter: Fitter) -> None:
    chosen = [
        search(fitter, 0.6, test=test).require_met().spec
        for test in (trial("test", 2), trial("test", 7), None)
    ]
    assert len(set(chosen)) == 1


def test_a_target_that_no_form_meets_is_told_with_the_best(fitter: Fitter) -> None:
    found = search(fitter, 0.9999)
    assert found.chosen is None
    assert found.verdict is None
    assert found.best is not None
    assert found.best.spec in found.test
    with pytest.raises(RunError, match="No form that was tried") as told:
        found.require_met()
    assert found.best.spec.name in str(told.value)
    assert "no form was shown to keep recall@5>=0.9999" in says_of(found)
    with pytest.raises(DataError, match="Recall@7 is not measured"):
        find_smallest(Target(7, 0.5), fitter, trial("val", 1), None, say=lambda text: None)


def test_the_verdict_is_what_test_says(fitter: Fitter) -> None:
    found = search(fitter, 0.6)
    judged = found.test[found.require_met().spec]
    value, low, high = judged.lower[5], judged.estimates[5].low, judged.estimates[5].high
    for recall, verdict in (
        (value - 1e-6, "confirmed"),
        ((value + high) / 2, "open"),
        (high + 1e-6, "contradicted"),
    ):
        found.target = Target(5, recall)
        assert found.verdict == verdict
        assert {"confirmed": "is confirmed", "open": "does not prove", "contradicted": "LESS"}[
            verdict
        ] in says_of(found)
    assert low < high


class Given:
    """Trains nothing: encoders that start as principal components; what they were asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str]] = []

    def __call__(self, size: int, quantizer: str) -> nn.Module:
        self.asked.append((size, quantizer))
        config = VectorEncoderConfig(
            name="linear", input_dim=WIDTH, latent_dim=size, int8=quantizer == "int8"
        )
        made = VectorEncoder(config)
        made.start_from([cloud(500)])
        return made


def test_encoders_are_trained_from_the_best_size_down(fitter: Fitter) -> None:
    pytest.importorskip("faiss")
    train = Given()
    found = search(fitter, 0.6, settings={"train_learned": train, "learned_tries": 2})
    plain = search(fitter, 0.6).require_met().spec.bytes
    assert 1 <= len(train.asked) <= 2
    assert train.asked[0] == (WIDTH // plain * plain, "pq")
    chosen = found.require_met().spec
    assert chosen.transform != "learned", "what learnt nothing wins nothing at equal bytes"
    learned = [one for one in found.test if one.transform == "learned"]
    assert len(learned) == len(train.asked)
    rows = report_rows(found, trial("test", 2))
    for row in rows:
        assert {"n", "low", "high", "lower", "unit"} <= set(row["recall"]["5"])
        assert row["pool"]["rows"] == 250
        assert (row["transform"] == "learned") == ("against" in row)
    by_bytes: dict[int, list[str]] = {}
    for row in rows:
        by_bytes.setdefault(row["bytes"], []).append(row["transform"])
    assert all("pca" in names for names in by_bytes.values()), "never shown without PCA"
    lines = table_lines(rows, 5)
    assert "250 queries, pool of 250 rows (250 held out, 0 not)" in lines[0]
    assert sum("<- chosen" in line for line in lines) == 1
    assert any("of recall@5" in line and "learned" in line for line in lines)


def test_differences_are_paired_and_of_one_trial(fitter: Fitter) -> None:
    here = trial("val", 1)
    one, other = (judge(fitter.fit(Spec(n, "pca", "int8", n)), here) for n in (12, 8))
    gain = difference(one, other, 5, here)
    assert gain.value == pytest.approx((one.recalls[5] - other.recalls[5]).mean())
    assert gain.low > 0
    elsewhere = judge(fitter.fit(Spec(8, "pca", "int8", 8)), trial("test", 2))
    with pytest.raises(DataError, match="not judged by the same queries"):
        difference(one, elsewhere, 5, here)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("recall>=0.9", "cannot be read"),
        ("recall@10>=95%", 'write "recall@10>=0.95"'),
        ("recall@10>=95", 'write "recall@10>=0.95"'),
        ("recall@0>=0.9", "nothing to keep"),
        ("recall@5>=0", "nothing to keep"),
        ("recall@5>=1.2.3", "no number"),
        ("map@5>=0.5", "cannot be read"),
    ],
)
def test_targets_that_say_nothing_are_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError) as told:
        parse_target(text)
    assert words in str(told.value)
    assert "--keep" in str(told.value)


# As ONNX.

FORMS = [
    Spec(48, "pca", "float32", 12),
    Spec(24, "pca-whiten", "float16", 12),
    Spec(12, "truncation", "int8", 12),
    Spec(3, "raw", "binary", WIDTH),
    Spec(6, "opq", "pq", WIDTH),
    Spec(12, "learned", "int8", 12),
    Spec(6, "learned", "pq", 12),
]


def codec_of(spec: Spec, seed: int = 0) -> Codec:
    made = Fitter(ArrayRows(cloud(400, seed)), metric="cosine", seed=0)
    if spec.transform == "learned":
        return made.fit_learned(spec, Given()(spec.size, spec.quantizer)).codec
    return made.fit(spec).codec


@pytest.mark.parametrize("spec", FORMS, ids=lambda one: one.name)
def test_the_onnx_file_gives_the_codes_of_the_codec(spec: Spec, tmp_path: Path) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs the extra export")
    pytest.importorskip("onnx", reason="needs the extra export")
    if spec.quantizer == "pq":
        pytest.importorskip("faiss")
    from sightline.compressing.onnx_codec import compare_codes, export_codec

    codec, new = codec_of(spec), cloud(40, 9)
    parity = export_codec(codec, cloud(30, 8), tmp_path / "model.onnx", about={"seed": 0})
    assert parity.different == 0, parity.summary()
    session = runtime.InferenceSession(
        str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    (codes,) = session.run(["codes"], {"vectors": new})
    wanted = codec.encode(torch.from_numpy(new)).numpy()
    assert codes.dtype == wanted.dtype
    np.testing.assert_allclose(codes.astype(float), wanted.astype(float), atol=2e-3)
    # Another codec's file is seen to be another.
    if spec.name != "learned-12-int8":  # which is the same one, trained by nobody
        assert compare_codes(codec_of(spec, seed=5), session, new).different > 0
