"""Batches: which files, which order, which crops; the same at every call."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models import download, image
from tests.training import tiny
from training import data, segmentation
from training.objectives.dtgan import DTGANRecipe
from training.recipe import RecipeError


def recipe(folder: Path, **changes: object) -> DTGANRecipe:
    return DTGANRecipe(
        photos=folder / "photos", anime=folder / "anime", out=folder / "run", size=64, batch=3, **changes
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny.pictures(tmp_path / "photos", 5, seed=1)
    tiny.pictures(tmp_path / "anime", 4, seed=2)
    return tmp_path


def test_sources_csv_keeps_the_train_split(folder: Path) -> None:
    (folder / "photos" / "SOURCES.csv").write_text("file,split\n00.png,train\n01.png,test\n02.png,train\n")
    assert [path.name for path in data.files(folder / "photos")] == ["00.png", "02.png"]
    assert len(data.files(folder / "anime")) == 4


def test_missing_and_empty_folders_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no folder"):
        data.files(tmp_path / "nowhere")
    with pytest.raises(RecipeError, match="holds no training image"):
        data.files(tmp_path)


def test_a_damaged_image_is_named(folder: Path) -> None:
    (folder / "photos" / "99.png").write_bytes(b"not an image")
    with pytest.raises(RecipeError, match=r"99\.png"):
        recipe(folder).data()


def test_batches_are_pure_functions_of_the_step(folder: Path) -> None:
    first, again = recipe(folder, margin=0.25, flip=True).data(), recipe(folder, margin=0.25, flip=True).data()
    for step in (0, 7):
        one, two = first.batch(step), again.batch(step)
        assert set(one) == {"photo", "segments", "anime", "smooth"}
        assert all(torch.equal(one[name], two[name]) and one[name].shape == (3, 3, 64, 64) for name in one)
    assert not torch.equal(first.batch(0)["photo"], first.batch(1)["photo"])


def test_an_epoch_shows_every_image_once_over_all_processes(folder: Path) -> None:
    photos = recipe(folder).data().sets[0]
    seen = [index for position in range(0, 15, 3) for index in photos.indices(position, 3, 0)]
    assert [sorted(seen[epoch : epoch + 5]) for epoch in (0, 5, 10)] == [[0, 1, 2, 3, 4]] * 3
    assert seen[:5] != seen[5:10]
    both = recipe(folder).data()
    ranks = [both.batch(0, rank=rank, world=2)["photo"] for rank in (0, 1)]
    assert not torch.equal(*ranks)


def test_derived_versions_are_cropped_and_mirrored_with_their_image(folder: Path) -> None:
    batch = recipe(folder, margin=0.25, flip=True).data().batch(3)
    segments = segmentation.superpixels(image.to_uint8(batch["photo"])[0], 1)
    distance = np.abs(segments.astype(float) - image.to_uint8(batch["segments"])[0]).mean()
    mirrored = np.abs(segments[:, ::-1].astype(float) - image.to_uint8(batch["segments"])[0]).mean()
    assert distance < 0.5 * mirrored


def test_arrays_are_made_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe(folder).data()
    monkeypatch.setattr(data, "squares", lambda *_: pytest.fail("made again"))
    recipe(folder).data()
    assert not list((folder / "run" / "cache").glob("*.tmp"))


def test_larger_pictures_are_resized_and_cropped_around_the_centre(tmp_path: Path) -> None:
    wide = torch.full((1, 3, 80, 240), -1.0)
    wide[..., 80:160] = 1.0
    (tmp_path / "wide.png").write_bytes(image.png(wide))
    assert (data.square(tmp_path / "wide.png", 64)[:, 2:-2] > 250).all()


def test_a_recipe_may_ask_for_licences(folder: Path) -> None:
    folder = folder / "photos"
    images = sorted(path.name for path in folder.glob("*.png"))
    rows = [f"{name},train,{'pd' if index == 1 else 'research-only'}" for index, name in enumerate(images)]
    (folder / "SOURCES.csv").write_text("\n".join(["file,split,licence_class", *rows]))
    assert [path.name for path in data.files(folder, ("pd", "cc0"))] == [images[1]]
    with pytest.raises(RecipeError, match="no training image"):
        data.files(folder, ("cc0",))
    (folder / "SOURCES.csv").unlink()
    with pytest.raises(RecipeError, match="licence_class there is one of: pd"):
        data.files(folder, ("pd",))


def test_eyes_and_mouths_are_marked_on_request(folder: Path, weights_dir: Path) -> None:
    assert weights_dir.is_dir()
    plain, marked = recipe(folder).data().batch(0), recipe(folder, eyes=2.0).data().batch(0)
    assert set(marked) == {*plain, "features"}
    assert marked["features"].shape == marked["photo"].shape
    assert marked["features"].max() == -1  # these pictures show no face


def unreachable(official: download.Download) -> Path:
    raise OSError(f"{official.file} could not be downloaded.")


def test_marks_need_the_detector(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NIJIGEN_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(download, "fetch", unreachable)
    with pytest.raises(RecipeError, match="--eyes 0"):
        recipe(folder, eyes=2.0).data()


def threads(_: int) -> int:
    import torch

    return torch.get_num_threads()


def test_workers_use_one_thread() -> None:
    with data.pool(1) as workers:
        assert workers.submit(threads, 0).result(timeout=120) == 1
