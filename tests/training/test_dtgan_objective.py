"""DTGAN's phases: which weights they move, which terms they have, and where gradients may go."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from models import dtgan, features, registry
from tests.training import tiny
from training import losses
from training.objective import Batch
from training.objectives import dtgan as objective
from training.objectives.dtgan import RECIPES, REFERENCE, DTGANObjective, Hayao, Shinkai


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(2, 3, 64, 64, generator=generator) * 2 - 1 for name in ("photo", "segments", "anime", "smooth")
    }


@pytest.fixture
def hayao(monkeypatch: pytest.MonkeyPatch) -> Iterator[DTGANObjective]:
    monkeypatch.setitem(features.PERCEPTUAL, "vgg19", tiny.perceptual)
    made = Hayao(photos=Path("p"), anime=Path("a"), out=Path("o"), size=64, workers=0).objective()
    yield made
    made.close()


def test_the_weights_are_the_papers() -> None:
    hayao, shinkai = (kind(photos=Path("p"), anime=Path("a"), out=Path("o")) for kind in (Hayao, Shinkai))
    assert hayao.style == (0.1, 5.0, 25.0)
    assert shinkai.style == (0.1, 2.0, 28.0)
    assert (hayao.region, hayao.color, hayao.smooth_fakes) == ((0.2, 0.2), 10, 2)
    assert (shinkai.region, shinkai.color, shinkai.smooth_fakes) == ((0.8, 0.5), 8, 5)
    assert hayao.total_variation == 10 * shinkai.total_variation == 0.001
    assert (shinkai.white_noise, shinkai.min_region, shinkai.denoise) == (0.1, 100, (7, 6))


def test_the_reference_gives_back_the_trace_with_the_shinkai_weights() -> None:
    shinkai = Shinkai(photos=Path("p"), anime=Path("a"), out=Path("o"))
    assert shinkai.content * REFERENCE["content"] == pytest.approx(0.168)
    style = [
        weight * REFERENCE[f"style_{layer}"]
        for layer, weight in zip(objective.STYLE_LAYERS, shinkai.style, strict=True)
    ]
    assert style == pytest.approx([0.077, 0.530, 1.833])
    region = shinkai.region[0] * REFERENCE["region_own"] + shinkai.region[1] * REFERENCE["region_photo"]
    assert region == pytest.approx(0.684)
    assert 0.5 * REFERENCE["revision_perceptual"] == pytest.approx(0.223)


def test_phases_follow_the_schedule(hayao: DTGANObjective) -> None:
    names = [[phase.name for phase in hayao.phases if phase.active(step)] for step in (0, 4_159, 4_160, 90_000)]
    assert names == [["init"], ["init"], ["generator", "judges"], ["generator", "judges"]]


def test_the_first_phase_leaves_out_the_main_tail_for_shinkai(hayao: DTGANObjective, batch: Batch) -> None:
    assert set(hayao.init(batch)) == {"content_support", "content_main"}
    hayao.recipe = Shinkai(photos=Path("p"), anime=Path("a"), out=Path("o"), workers=0)
    assert set(hayao.init(batch)) == {"content_support"}


def test_every_term_is_there_and_finite_and_reaches_every_weight(hayao: DTGANObjective, batch: Batch) -> None:
    terms = hayao.paint(batch)
    tails = {f"{term}_{tail}" for term in ("adversarial", "total_variation") for tail in ("support", "main")}
    style = {f"style_{layer}" for layer in objective.STYLE_LAYERS}
    assert set(terms) == tails | style | {
        "content",
        "color",
        "region_own",
        "region_photo",
        "revision",
        "revision_perceptual",
    }
    torch.stack(list(terms.values())).sum().backward()
    missing = [name for name, weight in hayao.networks["generator"].named_parameters() if weight.grad is None]
    assert missing == []
    assert all(torch.isfinite(weight.grad).all() for weight in hayao.networks["generator"].parameters())


def test_the_first_step_equals_the_reference_times_the_weights(hayao: DTGANObjective, batch: Batch) -> None:
    terms = hayao.paint(batch)
    assert terms["content"].item() == pytest.approx(0.5 * REFERENCE["content"], rel=1e-4)
    assert terms["style_conv3_3"].item() == pytest.approx(5 * REFERENCE["style_conv3_3"], rel=1e-4)
    assert terms["region_photo"].item() == pytest.approx(0.2 * REFERENCE["region_photo"], rel=1e-4)


def test_the_revision_carries_no_gradient_and_the_main_tail_never_sees_anime(
    hayao: DTGANObjective, batch: Batch
) -> None:
    terms = hayao.paint(batch)
    assert hayao.revision is not None
    assert not hayao.revision.requires_grad
    main = sum(value for name, value in terms.items() if name.startswith("revision") or name.endswith("_main"))
    main.backward()
    support = hayao.networks["generator"].support.parameters()
    assert all(weight.grad is None or not weight.grad.any() for weight in support)


def test_the_judges_turn_does_not_touch_the_generator(hayao: DTGANObjective, batch: Batch) -> None:
    hayao.paint(batch)
    terms = hayao.judge(batch)
    assert set(terms) == {"support_real", "support_fake", "support_smooth", "main_real", "main_fake"}
    torch.stack(list(terms.values())).sum().backward()
    assert all(weight.grad is None for weight in hayao.networks["generator"].parameters())
    for name in ("support_judge", "main_judge"):
        assert all(weight.grad is not None for weight in hayao.networks[name].parameters())


def test_the_support_judge_sees_gray_alone(hayao: DTGANObjective, batch: Batch) -> None:
    seen: list[torch.Tensor] = []
    hayao.networks["support_judge"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    hayao.paint(batch)
    hayao.judge(batch)
    assert len(seen) == 4
    assert all(torch.equal(images[:, 0], images[:, 2]) for images in seen)


def test_the_export_is_encoder_and_main_tail(hayao: DTGANObjective, batch: Batch) -> None:
    exported = hayao.export(hayao.networks["generator"])
    assert isinstance(exported, dtgan.DTGAN)
    columns = hayao.samples(hayao.networks["generator"], batch)
    assert [column.shape for column in columns] == [batch["photo"].shape] * 3
    assert torch.equal(columns[1], dtgan.guided_filter(hayao.networks["generator"](batch["photo"])[0]))


def test_saturated_counts_black_and_white_pixels() -> None:
    images = torch.zeros(1, 3, 2, 2)
    images[..., 0, 0], images[..., 1, 1] = 1.0, -1.0
    images[0, 0, 0, 1] = 1.0
    assert losses.saturated(images) == pytest.approx(0.5)


def test_calibration_scales_are_logged(hayao: DTGANObjective, batch: Batch) -> None:
    figures = hayao.statistics(hayao.networks["generator"], batch)
    assert {f"scale_{name}" for name in REFERENCE} <= set(figures)
    assert isinstance(hayao.calibration, losses.Calibration)


def test_the_portrait_revision_is_flatter_and_has_lines(hayao: DTGANObjective, batch: Batch) -> None:
    hayao.paint(batch)
    plain = hayao.revision
    hayao.recipe = dataclasses.replace(hayao.recipe, ink=0.8)
    torch.manual_seed(0)
    hayao.paint(batch)
    assert plain is not None
    assert hayao.revision is not None
    assert hayao.revision.mean() < plain.mean()


def test_without_its_main_tail_the_support_tail_is_published(monkeypatch: pytest.MonkeyPatch, batch: Batch) -> None:
    monkeypatch.setitem(features.PERCEPTUAL, "vgg19", tiny.perceptual)
    recipe = RECIPES["dtgan-portrait-support"](photos=Path("p"), anime=Path("a"), out=Path("o"), size=64, workers=0)
    made = recipe.objective()
    assert isinstance(made, DTGANObjective)
    assert set(made.init(batch)) == {"content_support"}
    assert not [name for name in {**made.paint(batch), **made.judge(batch)} if "main" in name or "revision" in name]
    network = made.networks["generator"].eval()
    with torch.no_grad():
        assert torch.equal(made.export(network)(batch["photo"]), network(batch["photo"])[0])


@pytest.mark.parametrize("name", ["instance", "layer", "half-pixel"])
def test_ablations_change_the_generator_and_say_so_in_their_configuration(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: Batch
) -> None:
    monkeypatch.setitem(features.PERCEPTUAL, "vgg19", tiny.perceptual)
    recipe = RECIPES[f"dtgan-portrait-{name}"](photos=Path("p"), anime=Path("a"), out=Path("o"), workers=0)
    made = recipe.objective()
    network = made.export(made.networks["generator"].eval())
    registry.save(network, tmp_path, name="dtgan")
    with torch.no_grad():
        again = registry.load(str(tmp_path))(batch["photo"])
        assert torch.allclose(again, network(batch["photo"]), atol=2e-3)  # weights are stored as float16
        paper = dtgan.DTGAN().eval()
        paper.load_state_dict(network.state_dict(), strict=False)
        assert not torch.allclose(again, paper(batch["photo"]), atol=2e-3)


def test_eyes_count_more_where_the_recipe_says_so(hayao: DTGANObjective, batch: Batch) -> None:
    assert hayao.places(batch) is None
    hayao.recipe = dataclasses.replace(hayao.recipe, eyes=4.0)
    marks = -torch.ones(2, 3, 64, 64)
    marks[..., 10, 20] = 1
    places = hayao.places(batch | {"features": marks})
    assert places is not None
    assert places.shape == (2, 1, 64, 64)
    assert (places[0, 0, 10, 20].item(), places[0, 0, 0, 0].item()) == (5, 1)


def test_the_identity_term_reaches_the_main_tail_alone(
    monkeypatch: pytest.MonkeyPatch, weights_dir: Path, batch: Batch
) -> None:
    monkeypatch.setitem(features.PERCEPTUAL, "vgg19", tiny.perceptual)
    recipe = Hayao(photos=Path("p"), anime=Path("a"), out=Path("o"), size=64, workers=0, identity=2.0)
    made = recipe.objective()
    terms = made.paint(batch)
    assert 0 < terms["identity"].item() < 4
    terms["identity"].backward()
    generator = made.networks["generator"]
    assert all(weight.grad is not None for weight in generator.painter.parameters())
    assert all(weight.grad is None for weight in generator.support.parameters())
