"""FID against a closed form, a plain numpy computation and torch-fidelity."""

import numpy as np
import pytest

from bench.metrics import fid


def _whitened(seed: int, count: int, dim: int) -> np.ndarray:
    """Samples whose mean is exactly 0 and whose covariance is exactly the identity."""
    samples = np.random.default_rng(seed).normal(size=(count, dim))
    samples -= samples.mean(axis=0)
    basis = np.linalg.qr(samples)[0]
    return basis * np.sqrt(count - 1)


def test_closed_form_of_known_gaussians() -> None:
    scale_a, scale_b, shift = np.array([1.0, 2.0, 0.5]), np.array([2.0, 2.0, 1.5]), np.array([0.3, -0.4, 0.0])
    a, b = _whitened(1, 50, 3) * scale_a, _whitened(2, 80, 3) * scale_b + shift
    assert fid.fid(a, b) == pytest.approx(0.25 + ((scale_a - scale_b) ** 2).sum(), abs=1e-9)


@pytest.mark.parametrize(("count_a", "count_b"), [(200, 150), (20, 30), (20, 200)])
def test_equals_eigenvalues_of_the_covariance_product(count_a: int, count_b: int) -> None:
    generator = np.random.default_rng(3)
    a, b = generator.normal(size=(count_a, 48)), generator.normal(0.3, 1.4, size=(count_b, 48))
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    roots = np.sqrt(np.abs(np.linalg.eigvals(cov_a @ cov_b)).astype(complex)).real.sum()
    mean = ((a.mean(0) - b.mean(0)) ** 2).sum()
    assert fid.fid(a, b) == pytest.approx(mean + np.trace(cov_a) + np.trace(cov_b) - 2 * roots, abs=1e-4)


def test_equals_torch_fidelity() -> None:
    torch = pytest.importorskip("torch")
    anchor = pytest.importorskip("torch_fidelity.metric_fid")
    generator = np.random.default_rng(4)
    a = generator.normal(size=(300, 32)).astype(np.float32)
    b = generator.normal(0.1, 1.2, size=(200, 32)).astype(np.float32)
    statistics = [anchor.fid_features_to_statistics(torch.from_numpy(features)) for features in (a, b)]
    expected = anchor.fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert fid.fid(a, b) == pytest.approx(expected, abs=1e-4)


def test_identical_and_constant_sets_give_zero() -> None:
    a = np.random.default_rng(5).normal(size=(30, 64))
    assert fid.fid(a, a) == pytest.approx(0, abs=1e-9)
    assert fid.fid(np.ones((4, 8)), np.ones((4, 8))) == 0


def test_one_image_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 images a set"):
        fid.fid(np.ones((1, 8)), np.ones((5, 8)))
