"""KID against a direct U-statistic and against torch-fidelity."""

import itertools

import numpy as np
import pytest

from bench.metrics import kid


def _features(seed: int, count: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(shift, 1, (count, 16)).astype(np.float32)


def test_exact_equals_the_direct_sum_over_pairs() -> None:
    a, b = _features(1, 7).astype(np.float64), _features(2, 9, 0.5).astype(np.float64)

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (float(x @ y) / 16 + 1) ** 3

    within_a = np.mean([kernel(x, y) for x, y in itertools.permutations(a, 2)])
    within_b = np.mean([kernel(x, y) for x, y in itertools.permutations(b, 2)])
    between = np.mean([kernel(x, y) for x, y in itertools.product(a, b)])
    assert kid.exact(a, b) == pytest.approx(within_a + within_b - 2 * between, abs=1e-12)


def test_equals_torch_fidelity_for_the_same_seed() -> None:
    torch = pytest.importorskip("torch")
    anchor = pytest.importorskip("torch_fidelity.metric_kid")
    a, b = _features(3, 90), _features(4, 70, 0.2)
    expected = anchor.kid_features_to_metric(
        torch.from_numpy(a), torch.from_numpy(b), kid_subsets=20, kid_subset_size=50, rng_seed=2020, verbose=False
    )["kernel_inception_distance_mean"]
    assert kid.kid(a, b, subset_size=50, subsets=20, seed=2020) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_a_subset_never_exceeds_the_smaller_set() -> None:
    a, b = _features(5, 6), _features(6, 6, 1.0)
    assert kid.kid(a, b, subset_size=300) == pytest.approx(kid.exact(a, b))


def test_seed_decides_the_subsets() -> None:
    a, b = _features(7, 40), _features(8, 40)
    first, again, other = (kid.kid(a, b, subset_size=10, subsets=5, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_one_image_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 images a set"):
        kid.kid(_features(1, 1), _features(2, 9))
