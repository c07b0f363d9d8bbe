"""The committed catalogue equals the cards, and the command prints it."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from models import __main__ as command
from models import card, probe, registry


@pytest.fixture(scope="module")
def entries() -> tuple[card.CatalogueEntry, ...]:
    return probe.entries()


def test_the_committed_catalogue_is_current(entries: tuple[card.CatalogueEntry, ...]):
    assert card.CATALOGUE.read_text() == command.as_json(entries), "run: python -m models --renew"
    assert card.catalogue() == entries


def test_counts_are_the_published_ones():
    assert {entry.name: entry.parameters for entry in card.catalogue()} == {
        "dtgan": 1_027_520,
        "dtgan-portrait": 1_027_520,
        "dtgan-illust": 1_027_520,
        "animegan": 3_956_096,
        "animeganv2": 2_143_552,
        "animeganv2-lite": 698_240,
        "animegan-portrait": 3_956_096,
        "animeganv2-portrait": 2_143_552,
        "animeganv2-lite-portrait": 698_240,
        "dcgan-64": 12_658_432,
        "dcgan-256": 12_817_856,
        "dcgan-64-small": 1_100_224,
        "cyclegan": 11_378_179,
        "cyclegan-resnet6": 7_837_699,
        "cyclegan-unet128": 41_828_995,
        "cyclegan-small": 1_107_459,
        "bicubic": 0,
        "srcnn": 69_251,
        "espcn": 24_752,
        "fsrcnn": 9_169,
        "patchgan-sr": 1_547_350,
        "unit": 18_017_286,
        "unit2018": 11_140_483,
        "unit-small": 1_131_270,
        "unet": 31_031_875,
        "unet-nn": 34_513_475,
        "unet-small": 843_773,
        "unetplus": 22_927_459,
        "unetplus-transposed": 25_364_579,
        "unetplus-vgg16": 29_306_531,
        "stylegan2-64": 23_819_544,
        "stylegan2-256": 24_767_458,
        "stylegan2-64-small": 956_760,
        "ufrgan-paper-size": 19_938_836,
        "ufrgan-full": 26_126_644,
        "ufrgan-tiny-24": 3_813_230,
        "ufrgan-tiny-16": 1_006_739,
        "ufrgan-tiny-8": 208_225,
        "johnson": 1_679_235,
        "johnson-tanh": 1_677_638,
        "nst": 7_635_264,
        "stylization": 10_986_562,
        "stylization-mobile": 2_512_634,
        "stylization-small": 868_262,
        "adain-gan": 9_370_755,
        "adain-small": 987_507,
    }


def test_work_is_counted_for_all_but_optimisation():
    work = {entry.name: entry.multiply_adds for entry in card.catalogue()}
    assert work.pop("nst") is None
    assert work.pop("bicubic") == 0, "neither a convolution nor a matrix product"
    assert all(count and count > 1e7 for count in work.values())
    assert work["cyclegan"] == pytest.approx(49.55e9, rel=0.01), "by hand: 256 px, nine blocks of 256 channels at 64 px"


def test_the_committed_pages_are_current(entries: tuple[card.CatalogueEntry, ...]):
    page, readme = card.CATALOGUE.with_name("README.md").read_text(), command.README.read_text()
    assert page == command.as_page(entries), "run: python -m models --renew"
    assert readme == command.with_summary(readme, entries), "run: python -m models --renew"
    for entry in entries:
        assert f"| `{entry.name}` | [" in page, "its source has a link"
        assert f"| `{entry.name}` | {entry.task} | [" in readme


def test_both_tables_say_all_there_is_to_say(entries: tuple[card.CatalogueEntry, ...]):
    for entry in entries:
        for row in (command.as_row(entry), command.as_summary([entry]).splitlines()[-1]):
            wanted = (
                f"{entry.parameters:,}",
                entry.licence,
                entry.released,
                entry.checkpoint or "none yet",
                entry.note,
            )
            assert [part for part in wanted if part not in row] == []
            assert all(f"]({link})" in row for _, link in card.sources(entry.paper))
            assert entry.note.endswith("."), "a sentence"
            assert row.count(" | ") == row.count("|") - 2, "no cell holds a bar"


def test_several_sources_are_several_links(entries: tuple[card.CatalogueEntry, ...]):
    entry = next(entry for entry in entries if entry.name == "stylegan2-64")
    assert [link for _, link in card.sources(entry.paper)] == [
        "https://arxiv.org/abs/1912.04958",
        "https://arxiv.org/abs/2006.06676",
    ]
    row = command.as_row(entry)
    assert "StyleGAN (Karras et al., 2020a)](https://arxiv.org/abs/1912.04958); [Training" in row
    assert "[Karras et al., 2020b](https://arxiv.org/abs/2006.06676)" in command.as_summary([entry])
    assert "https://" not in "".join(title for each in entries for title, _ in card.sources(each.paper))


@pytest.mark.parametrize("paper", ["", "A title (Somebody, 2020)", "One, https://a.org, Two, https://b.org"])
def test_sources_of_another_form_are_refused(paper: str):
    with pytest.raises(ValueError, match="expected 'Title"):
        card.sources(paper)


def test_checkpoints_link_to_their_folder_or_to_the_hub(entries: tuple[card.CatalogueEntry, ...]):
    entry = next(entry for entry in entries if entry.name == "dtgan-portrait")
    assert "[dtgan-portrait](checkpoints/dtgan-portrait)" in command.as_row(entry)
    assert "[dtgan-portrait](models/checkpoints/dtgan-portrait)" in command.as_summary([entry])
    elsewhere = dataclasses.replace(entry, checkpoint="someone/portraits")
    assert "[someone/portraits](https://huggingface.co/someone/portraits)" in command.as_row(elsewhere)


@pytest.mark.parametrize(
    ("name", "terms"),
    [
        ("animeganv2", "non-commercial"),
        ("cyclegan", "BSD-2-Clause"),
        ("dtgan", "non-commercial"),
        ("espcn", "Apache-2.0"),
        ("fsrcnn", "Apache-2.0"),
        ("johnson", "BSD-3-Clause"),
        ("johnson-tanh", "research use only"),
        ("stylegan2-256", "NVIDIA source code licence: non-commercial"),
        ("stylization-mobile", "Apache-2.0"),
        ("ufrgan-full", "academic, non-commercial use only"),
        ("unit", "CC BY-NC-SA 4.0"),
        ("unit2018", "CC BY-NC-SA 4.0"),
        ("adain-gan", "MIT"),
    ],
)
def test_terms_of_official_weights_are_told(name: str, terms: str, entries: tuple[card.CatalogueEntry, ...]):
    entry = next(entry for entry in entries if entry.name == name)
    assert terms in entry.released
    assert f"architecture only; official weights: {entry.released}" in command.as_row(entry)


def test_small_presets_fit_beside_what_is_bundled(entries: tuple[card.CatalogueEntry, ...]):
    folder = Path(card.__file__).with_name("checkpoints")
    bundled = sum(path.stat().st_size for path in folder.rglob("*") if path.suffix != ".onnx" and path.is_file())
    small = [entry for entry in entries if entry.name.endswith("-small")]
    assert len(small) == 7
    missing = sum(2 * entry.parameters for entry in small if entry.checkpoint is None)
    assert bundled + missing <= 32_000_000, "in float16"


def test_only_trained_models_are_offered():
    assert {entry.name for entry in card.offered()} == {
        name for name, entry in registry.CARDS.items() if entry.checkpoint is not None
    }


def run(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["models", *arguments])
    command.tyro.cli(command.main, prog="python -m models")


def test_the_command_prints_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run(["--json"], monkeypatch)
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == list(registry.CARDS)
    assert set(listed[0]) >= {"name", "task", "parameters", "multiple", "min_side", "checkpoint"}


def test_the_command_prints_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run([], monkeypatch)
    head, first, *rest = capsys.readouterr().out.splitlines()
    assert head.split() == list(command.COLUMNS)
    assert first.startswith("dtgan ")
    assert "1,027,520" in first
    assert "multiple of 8 (padded), from 64 px" in first
    assert len(rest) == len(registry.CARDS) - 1


def test_a_misspelt_flag_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as caught:
        run(["--jsn"], monkeypatch)
    assert caught.value.code == 2
    assert "--json" in capsys.readouterr().err
