"""UNIT: generators and discriminators of the first release (branch `version_02`) and of the second one (2018).

Domain A is the photo's, B the anime's; the layouts called `reverse` are for files in which it is the other way round.

First release: the generator called COCOResGen2 is read. The older COCOResGen has the same names and shapes, but
normalises its outer convolutions; only files old enough to hold statistics of these norms can be told and are refused.

Second release: a file holds one auto-encoder per domain, `a.enc...` and `b.dec...`, or a single one, `enc...`. Of two,
the encoder of the photo's and the decoder of the anime's are taken.
"""

import functools
import re

from models import unit
from models.conversion import layout
from models.conversion.layout import Layout, LayoutError, Settings, Tensors

STATISTICS = ("running_mean", "running_var")  # old files keep them of instance norms, which never use them
NUMBERED = re.compile(r"(\w+)\.(\d+)(?:\.model\.(\d))?\.(weight|bias)")
RESIDUAL = ".model.3.weight"  # the second convolution, which no other block has


def count(tensors: Tensors, part: str, ending: str = ".weight") -> int:
    """Number the tensors of a part whose names end so."""
    return sum(key.startswith(f"{part}.") and key.endswith(ending) for key in tensors)


def parts(photo: str) -> dict[str, str]:
    """Pair the parts of the first release with ours; `photo` is the domain of the photos, "A" or "B"."""
    domains = {"A": "photo", "B": "anime"} if photo == "A" else {"A": "anime", "B": "photo"}
    encoders = {f"encode_{key}": f"encoders.{domain}" for key, domain in domains.items()}
    decoders = {f"decode_{key}": f"decoders.{domain}" for key, domain in domains.items()}
    return {**encoders, **decoders, "enc_shared": "shared_encoder", "dec_shared": "shared_decoder"}


def settings_2017(tensors: Tensors) -> Settings:
    """Read width, halvings and residual blocks of the first release."""
    residuals = count(tensors, "encode_A", RESIDUAL)
    return {
        "width": layout.shape(tensors, "encode_A.0.model.0.weight")[0],
        "halvings": max(count(tensors, "encode_A", ".model.0.weight") - residuals - 1, 0),
        "encoder_residuals": residuals,
        "encoder_shared": count(tensors, "enc_shared", RESIDUAL),
        "decoder_shared": count(tensors, "dec_shared", RESIDUAL),
        "decoder_residuals": count(tensors, "decode_A", RESIDUAL),
    }


def rename_2017(tensors: Tensors, *, photo: str) -> Tensors:
    """Give our names to a generator of the first release; `photo` as in `parts`."""
    ours, renamed = parts(photo), {}
    residual = {key.removesuffix(RESIDUAL) for key in tensors if key.endswith(RESIDUAL)}
    for key, tensor in tensors.items():
        block = key.split(".model.")[0]
        if block in residual and key.endswith(STATISTICS):
            continue
        match = NUMBERED.fullmatch(key)
        inner = {"0": ".first", "3": ".second"} if block in residual else {"0": ".0", None: ""}
        if match and match[1] in ours and match[3] in inner:
            key = f"{ours[match[1]]}.{match[2]}{inner[match[3]]}.{match[4]}"
        renamed[key] = tensor
    return renamed


def pick(tensors: Tensors, source: str, target: str) -> Tensors:
    """Take the encoder of one domain and the decoder of another; a file of one auto-encoder is taken whole."""
    chosen = (f"{source}.enc.", f"{target}.dec.")
    return {key[2:]: value for key, value in tensors.items() if key.startswith(chosen)} or tensors


def sizes(tensors: Tensors) -> tuple[int, int]:
    """Number the halvings and the residual blocks of an encoder of the second release."""
    blocks = {match[1] for key in tensors if (match := re.fullmatch(r"enc\.model\.\d+\.model\.(\d+)\..+", key))}
    plain = [key for key in tensors if re.fullmatch(r"enc\.model\.\d+\.conv\.weight", key)]
    return len(plain) - 1, len(blocks)


def settings_2018(tensors: Tensors, *, source: str, target: str) -> Settings:
    """Read width, halvings and residual blocks of the second release."""
    chosen = pick(tensors, source, target)
    width = layout.shape(chosen, "enc.model.0.conv.weight")[0]
    halvings, residuals = sizes(chosen)
    return {"width": width, "halvings": halvings, "residuals": residuals}


def rename_2018(tensors: Tensors, *, source: str, target: str) -> Tensors:
    """Give our names to a generator of the second release, whose residual blocks stand one level deeper."""
    chosen = pick(tensors, source, target)
    halvings, residuals = sizes(chosen)
    block = re.compile(r"(enc|dec)\.model\.\d+\.model\.(\d+)\.model\.([01])\.conv\.(weight|bias)")
    plain = re.compile(r"(enc|dec)\.model\.(\d+)\.(conv|norm)\.(weight|bias|gamma|beta)")
    renamed = {}
    for key, tensor in chosen.items():
        if match := block.fullmatch(key):
            first = halvings + 1 if match[1] == "enc" else 0
            part = ("first", "second")[int(match[3])]
            key = f"{match[1]}oder.{first + int(match[2])}.{part}.{match[4]}"
        elif match := plain.fullmatch(key):
            ending = {"gamma": "weight", "beta": "bias"}.get(match[4], match[4])
            number = int(match[2]) + (residuals - 1 if match[1] == "dec" else 0)
            last = match[1] == "dec" and int(match[2]) == 2 * halvings + 1
            key = f"{match[1]}oder.{number}{'' if last else '.' + match[3]}.{ending}"
        if not key.endswith(STATISTICS):
            renamed[key] = tensor
    return renamed


def stages(tensors: Tensors, prefix: str) -> int:
    """Number the convolutions under a prefix, of which there must be some."""
    found = count(tensors, prefix)
    if not found:
        raise LayoutError(f"{prefix}.0 is missing; the file holds {', '.join(sorted(tensors)[:3]) or 'nothing'}")
    return found


def settings_shared(tensors: Tensors) -> Settings:
    """Read the sizes of the discriminator with a shared tail."""
    front, shared = stages(tensors, "model_A"), stages(tensors, "model_S") - 1
    return {"width": layout.shape(tensors, "model_A.0.model.0.weight")[0], "front": front, "shared": shared}


def settings_gaussian(tensors: Tensors) -> Settings:
    """Read the sizes of the multi-scale discriminator of the first release."""
    scales = len({key.split(".")[0] for key in tensors if re.match(r"model_\d+_A\.", key)})
    width = layout.shape(tensors, "model_1_A.0.model.0.weight")[0]
    return {"width": width, "depth": stages(tensors, "model_1_A") - 1, "scales": scales}


def rename_judges_2017(tensors: Tensors) -> Tensors:
    """Give our names to a discriminator of the first release; ours count the activations, too."""
    domains, renamed = {"A": "photo", "B": "anime"}, {}
    for key, tensor in tensors.items():
        match = NUMBERED.fullmatch(key)
        judge = match and re.fullmatch(r"model(?:_(\d+))?_([ABS])", match[1])
        if match and judge:
            scale = f".{int(judge[1]).bit_length() - 1}" if judge[1] else ""
            parts = "judges" if judge[1] else "fronts"
            prefix = "tail" if judge[2] == "S" else f"{parts}.{domains[judge[2]]}{scale}"
            key = f"{prefix}.{2 * int(match[2])}.{match[4]}"
        renamed[key] = tensor
    return renamed


def one_domain(tensors: Tensors) -> Tensors:
    """Take the discriminator of domain b, the anime, where a file holds two."""
    return {key[2:]: value for key, value in tensors.items() if key.startswith("b.cnns.")} or tensors


def settings_judges_2018(tensors: Tensors) -> Settings:
    """Read the sizes of the discriminator of the second release."""
    chosen = one_domain(tensors)
    scales = len({key.split(".")[1] for key in chosen if key.startswith("cnns.")})
    width = layout.shape(chosen, "cnns.0.0.conv.weight")[0]
    return {"width": width, "depth": stages(chosen, "cnns.0") - 1, "scales": scales}


def rename_judges_2018(tensors: Tensors) -> Tensors:
    """Give our names to a discriminator of the second release; ours count the activations, too."""
    renamed = {}
    for key, tensor in one_domain(tensors).items():
        if match := re.fullmatch(r"cnns\.(\d+)\.(\d+)(?:\.conv)?\.(weight|bias)", key):
            key = f"judges.{match[1]}.{2 * int(match[2])}.{match[3]}"
        renamed[key] = tensor
    return renamed


FIRST = "CC BY-NC-SA 4.0 (mingyuliutw/UNIT, branch version_02)"
SECOND = "CC BY-NC-SA 4.0 (mingyuliutw/UNIT)"


def first_release(photo: str) -> Layout:
    """Make the layout of a generator of the first release, whose photos are of this domain."""
    rename = functools.partial(rename_2017, photo=photo)
    return Layout(card="unit", build=unit.UNIT, settings=settings_2017, rename=rename, terms=FIRST)


def second_release(source: str, target: str) -> Layout:
    """Make the layout of a generator of the second release, from one domain to the other."""
    return Layout(
        card="unit2018",
        build=unit.UNIT2018,
        settings=functools.partial(settings_2018, source=source, target=target),
        rename=functools.partial(rename_2018, source=source, target=target),
        terms=SECOND,
    )


LAYOUTS = {
    "unit": first_release("A"),
    "unit-reverse": first_release("B"),
    "unit-discriminator": Layout(
        card=None, build=unit.SharedDiscriminator, settings=settings_shared, rename=rename_judges_2017, terms=FIRST
    ),
    "unit-multiscale-discriminator": Layout(
        card=None, build=unit.GaussianDiscriminator, settings=settings_gaussian, rename=rename_judges_2017, terms=FIRST
    ),
    "unit2018": second_release("a", "b"),
    "unit2018-reverse": second_release("b", "a"),
    "unit2018-discriminator": Layout(
        card=None,
        build=unit.MultiScaleDiscriminator,
        settings=settings_judges_2018,
        rename=rename_judges_2018,
        terms=SECOND,
    ),
}
