"""Scores by their definitions."""

import numpy as np
import pytest

from jaxlab.metrics.scores import table_scores, text_scores


def test_scores_of_numbers():
    target, predicted = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0])
    found = table_scores(target, predicted)
    variance = np.square(target - target.mean()).sum()
    expected = {"rmse": np.sqrt(5 / 3), "mae": 1.0, "r2": 1 - 5 / variance}
    assert found == pytest.approx(expected)


def test_scores_of_two_classes():
    chance = np.array([0.2, 0.6, 0.7, 0.9])
    target = np.array([0, 1, 0, 1])
    found = table_scores(target, np.stack([1 - chance, chance], axis=1), ("a", "b"))
    loss = -np.log([0.8, 0.6, 0.3, 0.9]).mean()
    # Of the four pairs of unlike classes only (0.6, 0.7) is in the wrong order.
    assert found == pytest.approx({"loss": loss, "accuracy": 0.75, "auc": 0.75})


def test_test_rows_may_lack_classes():
    predicted = np.array([[0.5, 0.25, 0.25]])
    found = table_scores(np.array([0]), predicted, ("a", "b", "c"))
    assert found == pytest.approx({"loss": np.log(2), "accuracy": 1.0})
    assert "auc" not in table_scores(np.array([0]), predicted[:, :2] / 0.75, ("a", "b"))


def test_scores_of_texts_are_those_of_sacrebleu():
    import sacrebleu

    predicted = ["a cat sat on the mat today", "the dog runs"]
    references = ["a cat sat on a mat today", "the dog runs"]
    found, signature = text_scores(predicted, references)
    expected = sacrebleu.corpus_bleu(predicted, [references]).score
    assert found["exact"] == 0.5
    assert found["bleu"] == pytest.approx(expected)
    assert found["chrf"] == pytest.approx(
        sacrebleu.corpus_chrf(predicted, [references]).score
    )
    assert signature.startswith("nrefs:1|case:mixed")


def test_case_counts_or_not():
    predicted, references = ["A Cat Sat Down"], ["a cat sat down"]
    assert text_scores(predicted, references)[0]["exact"] == 0
    found, signature = text_scores(predicted, references, lowercase=True)
    assert found["exact"] == 1
    assert found["bleu"] == pytest.approx(100)
    assert "case:lc" in signature


def test_single_words_have_no_bleu():
    assert text_scores(["2001-02-03"], ["2001-02-03"])[0].keys() == {"exact", "chrf"}
