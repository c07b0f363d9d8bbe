"""Make the pictures of a study: `python -m space.develop --photos DIR --out DIR`. Runs the models, with torch."""

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import contestants, datasets, predict, protocol, provenance, records
from models import card, image
from models.image import Images
from space import gallery, rules, screening, stimuli

logger = logging.getLogger(__name__)


def develop(
    photos: Path, out: Path, *, limits: rules.Rules = rules.STUDY, models: tuple[str, ...] | None = None
) -> stimuli.Stimuli:
    """Predict every photo with every model, damage copies, and write down what lies where.

    Args:
        photos: Folder of photos; a SOURCES.csv in it limits the study to the rows whose split is "test".
        out: The study's folder; predictions of unchanged photos and weights stay.
        limits: Rules of the protocol.
        models: Cards or checkpoint folders; all that are offered by default.

    Raises:
        RecordError: Too few photos, fewer than two models, or a photo that the demo shows.
        ImageError: A photo cannot be read.
    """
    index = datasets.HashIndex(out / "hashes.json")
    found = datasets.read_set(photos, index)
    names = tuple(file.name for file in found.files)
    if limits.protocol == rules.STUDY.protocol:
        refuse_known(found.files)
    conditions = protocol.Protocol()
    present = [each for each in contestants.find(models, index) if each.source is not None]
    check(names, [each.name for each in present], limits)
    rows = []
    for contestant in (contestants.Contestant(name=protocol.PHOTO), *present):
        files, _ = predict.predict(contestant, found, conditions=conditions, folder=out / "predictions", index=index)
        for file in files:
            rows.append(_row(file.name, contestant.name, file.path, out, contestant.sha256))
            if contestant.source is not None:
                copy = out / "damaged" / contestant.name / file.path.name
                records.write_atomic(copy, image.png(damage(image.read(file.path))))
                rows.append(_row(file.name, screening.damaged(contestant.name), copy, out, contestant.sha256))
    where = provenance.collect(conditions, device=provenance.describe_device("cpu"))
    facts = {
        "protocol": limits.protocol,
        "photos": list(names),
        "models": [each.name for each in present],
        "pictures": rows,
        "prediction_protocol": conditions.folder,
        "device": where.device,
        "versions": where.versions,
    }
    records.write_atomic(out / stimuli.INDEX, json.dumps(facts, indent=1).encode())
    index.save()
    return stimuli.load(out)


def locate(photos: str) -> Path:
    """Find the photos: a folder, or else a dataset on the Hub, which is downloaded into the usual cache.

    Raises:
        RecordError: It is neither.
    """
    if Path(photos).is_dir():
        return Path(photos)
    import huggingface_hub
    from huggingface_hub import errors

    try:
        patterns = ["*.jpg", "*.jpeg", "*.png", "*.webp", "SOURCES.csv"]
        return Path(huggingface_hub.snapshot_download(photos, repo_type="dataset", allow_patterns=patterns))
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise records.RecordError(f"{photos} is no folder, and no dataset on the Hub: {error}") from error


def check(photos: Sequence[str], models: Sequence[str], limits: rules.Rules) -> None:
    """Refuse a study that could not be held, before any picture is made."""
    if len(photos) < limits.min_photos:
        raise records.RecordError(
            f"{limits.protocol} needs {limits.min_photos} photos, since none appears twice in a session; "
            f"given {len(photos)}. Add photos."
        )
    if len(models) < 2:
        raise records.RecordError(f"a study compares two models or more; there are {len(models)} with weights.")


def refuse_known(files: Sequence[datasets.ImageFile]) -> None:
    """Refuse a photo that the demo offers: its predictions are there for everybody to compare."""
    shown = {hashlib.sha256(gallery.png(example)).hexdigest(): example.title for example in gallery.examples()}
    shown |= {hashlib.sha256(example.path.read_bytes()).hexdigest(): example.title for example in gallery.examples()}
    for file in files:
        clean = hashlib.sha256(image.png(image.read(file.path))).hexdigest()
        title = shown.get(file.sha256) or shown.get(clean)
        if title is not None:
            raise records.RecordError(f"{file.path} is shown in the demo ({title}), so nobody could rate it blind.")


def damage(images: Images) -> Images:
    """Break a prediction so that nobody can prefer it: an eighth of the size and back, posterised, half as bright."""
    height, width = images.shape[-2:]
    small = image.resize(images, height=max(1, height // 10), width=max(1, width // 10))
    coarse = image.resize(small, height=height, width=width)
    return ((coarse * 3).round() / 3).clamp(-1, 1) * 0.6 - 0.2


def _row(photo: str, name: str, path: Path, out: Path, checkpoint_sha256: str | None) -> records.Row:
    return {
        "photo": photo,
        "name": name,
        "file": str(path.relative_to(out)),
        "sha256": datasets.hash_bytes(path.read_bytes()),
        "checkpoint_sha256": checkpoint_sha256,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Make the pictures of a blind study.")
    parser.add_argument(
        "--photos", required=True, help="folder, or dataset on the Hub, of photos that the demo never shows"
    )
    parser.add_argument("--out", type=Path, required=True, help="the study's folder, which NIJIGEN_STUDY names")
    parser.add_argument("--models", nargs="*", help="cards or checkpoint folders (default: all with weights)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        made = develop(locate(options.photos), options.out, models=tuple(options.models) if options.models else None)
    except (records.RecordError, image.ImageError, card.UnknownModel) as error:
        logger.error("%s", error)
        return 2
    logger.info("%s: %d photos, %d models", options.out, len(made.photos), len(made.models))
    return 0


if __name__ == "__main__":
    sys.exit(main())
