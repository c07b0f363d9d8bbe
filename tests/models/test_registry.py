"""Names, checkpoints and every way in which one can be wrong."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

import models
from models import animegan, dtgan, image, registry
from models.card import UnknownModel
from models.registry import CheckpointError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    registry.save(dtgan.DTGAN(lade_epsilon=1e-7), tmp_path / "run", name="dtgan", readme="# A run")
    return tmp_path / "run"


def rewrite(folder: Path, changes: dict[str, torch.Tensor | None]) -> None:
    """Change tensors of a checkpoint (None removes one) and state the new checksum."""
    weights = load_file(folder / registry.WEIGHTS) | changes
    save_file({key: value for key, value in weights.items() if value is not None}, folder / registry.WEIGHTS)
    sha256 = hashlib.sha256((folder / registry.WEIGHTS).read_bytes()).hexdigest()
    edit(folder, nijigen={"card": "dtgan", "sha256": sha256})


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / registry.CONFIG).read_text()) | changes
    (folder / registry.CONFIG).write_text(json.dumps(config))


def test_importing_the_package_needs_no_torch():
    code = "import models, sys; print(*models.names()); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(registry.CARDS)


def test_two_cards_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two cards are called 'dtgan'"):
        registry.index(dtgan, dtgan)


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(UnknownModel, match="did you mean 'animeganv2'"):
        registry.build("animegan2")
    with pytest.raises(UnknownModel, match="did you mean 'dtgan-portrait'"):
        models.load("dtgan-portait")


def test_an_untrained_card_says_how_to_train():
    with pytest.raises(CheckpointError, match=r"animegan has no trained checkpoint yet; train one with .*training"):
        models.load("animegan")


def test_every_bundled_checkpoint_exists_and_loads():
    trained = [entry for entry in registry.CARDS.values() if entry.checkpoint is not None]
    for entry in trained:
        if "/" not in str(entry.checkpoint):
            assert models.load(entry.name).card == entry


def test_saved_settings_and_checksum_come_back(folder: Path):
    model = models.load(str(folder))
    config = json.loads((folder / registry.CONFIG).read_text())
    assert config.pop("nijigen") == {"card": "dtgan", "sha256": model.sha256}
    assert config == {"lade_epsilon": 1e-7, "norm": "lade", "upsample": "legacy"}
    assert model.sha256 == hashlib.sha256((folder / registry.WEIGHTS).read_bytes()).hexdigest()
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert isinstance(model.network, dtgan.DTGAN)
    assert model.network.encoder.x0.norm.epsilon == 1e-7


def test_the_folder_is_in_the_hub_form(folder: Path):
    network = dtgan.DTGAN.from_pretrained(folder)
    ours = registry.load(str(folder)).network.state_dict()
    assert all(torch.equal(value, ours[key]) for key, value in network.state_dict().items())
    card = huggingface_hub.ModelCard.load(folder / registry.README)
    data = card.data.to_dict()
    assert (data["library_name"], data["pipeline_tag"], data["license"]) == ("nijigen", "image-to-image", "other")
    assert "dtgan" in data["tags"]
    assert card.text.strip() == "# A run\n\nLicence: architecture only."


def test_a_second_save_replaces_the_first(folder: Path):
    registry.save(animegan.AnimeGANv2Lite(), folder, name="animeganv2-lite")
    assert models.load(str(folder)).card.name == "animeganv2-lite"
    assert (folder / registry.README).read_text().count("---") == 2


def test_half_halves_the_file_and_leaves_the_network(tmp_path: Path):
    network = animegan.AnimeGANv2Lite()
    registry.save(network, tmp_path, name="animeganv2-lite", half=True)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert {tensor.dtype for tensor in load_file(tmp_path / registry.WEIGHTS).values()} == {torch.float16}
    loaded = registry.load(str(tmp_path)).network.state_dict()
    for key, value in network.state_dict().items():
        assert torch.equal(loaded[key], value.half().float())


def test_values_that_are_not_finite_are_not_saved(tmp_path: Path):
    network = dtgan.DTGAN()
    torch.nn.init.constant_(network.main.paint.weight, 1e6)
    with pytest.raises(CheckpointError, match=r"main\.paint\.weight is not finite in float16"):
        registry.save(network, tmp_path / "run", name="dtgan", half=True)
    assert not (tmp_path / "run").exists()


def test_a_changed_file_is_refused(folder: Path):
    data = bytearray((folder / registry.WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / registry.WEIGHTS).write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.safetensors has SHA-256 \w+, expected"):
        models.load(str(folder))


def test_differing_keys_are_named_up_to_three(folder: Path):
    rewrite(
        folder,
        {
            "a.surplus": torch.zeros(1),
            "encoder.x0.conv.weight": None,
            "main.paint.weight": torch.zeros(3, 32, 5, 5),
            "z.surplus": torch.zeros(1),
        },
    )
    with pytest.raises(CheckpointError) as caught:
        models.load(str(folder))
    assert str(caught.value) == (
        f"{folder / 'model.safetensors'} does not fit the network: a.surplus surplus; encoder.x0.conv.weight missing; "
        "main.paint.weight has shape (3, 32, 5, 5), expected (3, 32, 7, 7) and 1 more."
    )


def test_a_file_that_is_no_safetensors_is_refused(folder: Path):
    (folder / registry.WEIGHTS).write_bytes(b"not weights")
    edit(folder, nijigen={"card": "dtgan", "sha256": hashlib.sha256(b"not weights").hexdigest()})
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        models.load(str(folder))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "holds list; expected an object"),
        ("{}", 'has no "nijigen" entry'),
        ('{"nijigen": {"card": "dtgan"}}', 'has no "nijigen" entry'),
        ('{"nijigen": {"card": "dtgan", "sha256": ""}, "width": 2}', "settings that dtgan does not know: width"),
        ('{"nijigen": {"card": "dtgan", "sha256": ""}}', r"model\.safetensors has SHA-256"),
    ],
)
def test_a_wrong_config_is_named(folder: Path, text: str, message: str):
    (folder / registry.CONFIG).write_text(text)
    with pytest.raises(CheckpointError, match=message):
        models.load(str(folder))


def test_a_folder_of_an_unknown_card_is_an_unknown_model(folder: Path):
    edit(folder, nijigen={"card": "stargan", "sha256": ""})
    with pytest.raises(UnknownModel, match="stargan"):
        models.load(str(folder))


@pytest.mark.parametrize("name", [registry.CONFIG, registry.WEIGHTS])
def test_a_missing_file_is_named(folder: Path, name: str):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"{name} does not exist"):
        models.load(str(folder))


def test_a_bundled_name_reads_its_folder(folder: Path, monkeypatch: pytest.MonkeyPatch):
    bundled = dataclasses.replace(registry.CARDS["dtgan"], checkpoint="run")
    monkeypatch.setattr(registry, "BUNDLED", folder.parent)
    monkeypatch.setitem(registry.CARDS, "dtgan", bundled)
    assert models.load("dtgan").card == bundled
    monkeypatch.setitem(registry.CARDS, "animegan", dataclasses.replace(registry.CARDS["animegan"], checkpoint="run"))
    with pytest.raises(CheckpointError, match="says it is 'dtgan'; expected 'animegan'"):
        models.load("animegan")


def test_a_hub_name_is_downloaded(folder: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def download(name: str, *, allow_patterns: list[str]) -> str:
        asked.append((name, *allow_patterns))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert models.load("someone/portraits").card.name == "dtgan"
    assert asked == [("someone/portraits", "config.json", "model.safetensors", "README.md")]


def test_a_failed_download_is_a_checkpoint_error(monkeypatch: pytest.MonkeyPatch):
    def download(name: str, *, allow_patterns: list[str]) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(CheckpointError, match="someone/portraits is no folder here and could not be fetched"):
        models.load("someone/portraits")


def test_the_wrapper_pads_to_the_multiple_and_crops_back():
    seen = []

    class Same(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(tuple(x.shape))
            return x

    model = registry.Model(registry.CARDS["dtgan"], Same())
    photo = torch.rand(2, 3, 67, 93)
    assert torch.equal(model(photo), photo)
    assert seen == [(2, 3, 72, 96)]
    with pytest.raises(image.ImageError, match="was given 93 x 63 px and takes sides from 64 px up"):
        model(photo[:, :, :63])


def test_an_unknown_setting_value_names_the_file(tmp_path: Path):
    registry.save(dtgan.DTGAN(), tmp_path, name="dtgan")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"norm": "group"}))
    with pytest.raises(registry.CheckpointError, match=r"config\.json does not fit dtgan: norm is 'group'"):
        registry.load(str(tmp_path))
