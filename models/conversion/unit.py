"""UNIT: generators and discriminators of the first release (branch `version_02`) and of the second one (2018).

Domain A is the photo's, B the anime's; the layouts called `reverse` are for files in which it is the other way round.

First release: the generator called COCOResGen2 is read. The older COCOResGen has the same names and shapes, but
normalises its outer convolutions; only files old enough to hold statistics of these norms can be told and are refused.

Second release: a file holds one auto-encoder per domain, `a.enc...` and `b.dec...`, or a single one, `enc...`. Of two,
the encoder of the photo's and the decoder of the anime's are taken, and the other two halves must have the same form.
"""

import functools
import re

from models import unit
from models.conversion import layout
from models.conversion.layout import Layout, Replacement, Settings, Tensors

STATISTICS = ("running_mean", "running_var")  # old files keep them of instance norms, which never use them
RESIDUAL = ".model.3."  # the second convolution, which no other block has
PAIRED = re.compile(r"^([ab])\.(?:module\.)?")


def names_2017(photo: str) -> tuple[tuple[str, Replacement], ...]:
    """Give the first release's names of our parts; `photo` is the domain of the photos, "A" or "B"."""
    anime = "B" if photo == "A" else "A"
    return (
        *(
            (rf"^(en|de)coders\.{ours}\.", rf"\1code_{domain}.")
            for ours, domain in (("photo", photo), ("anime", anime))
        ),
        (r"^shared_(en|de)coder\.", r"\1c_shared."),
        (r"\.first\.", ".model.0."),
        (r"\.second\.", ".model.3."),
        (r"^(\w+\.\d+)\.0\.", r"\1.model.0."),
    )


def residuals(tensors: Tensors) -> set[str]:
    """Name the residual blocks of the first release."""
    return {key.split(RESIDUAL)[0] for key in tensors if RESIDUAL in key}


def settings_2017(tensors: Tensors) -> Settings:
    """Count halvings and residual blocks of the first release, in parts of two domains those that either has."""
    blocks = layout.numbers(tensors, r"encode_[AB]\.(\d+)\.")
    found = {
        name: layout.length({place - min(places) for place in places})
        for name, part in (("encoder_residuals", "encode_[AB]"), ("encoder_shared", "enc_shared"),
                           ("decoder_shared", "dec_shared"), ("decoder_residuals", "decode_[AB]"))
        if (places := layout.numbers((f"{block}." for block in residuals(tensors)), rf"{part}\.(\d+)\."))
    }  # fmt: skip
    if blocks:
        found["halvings"] = max(layout.length(blocks) - found.get("encoder_residuals", 0) - 1, 0)
    return found


def tidy_2017(tensors: Tensors) -> Tensors:
    """Leave out the statistics of norms in residual blocks."""
    blocks = residuals(tensors)
    return {
        key: tensor
        for key, tensor in tensors.items()
        if not (key.endswith(STATISTICS) and key.split(".model.")[0] in blocks)
    }


def tidy_2018(tensors: Tensors) -> Tensors:
    """Leave out statistics, and what parallel training put behind the names of the domains."""
    kept = {key: tensor for key, tensor in tensors.items() if not key.endswith(STATISTICS)}
    return {PAIRED.sub(r"\1.", key): tensor for key, tensor in kept.items()}


def settings_2018(tensors: Tensors) -> Settings:
    """Count halvings and residual blocks of the second release; of two domains, those that either has."""
    names = {PAIRED.sub("", key) for key in tensors}
    encoder, decoder = (
        layout.length(layout.numbers(names, pattern))
        for pattern in (r"enc\.model\.\d+\.model\.(\d+)\.", r"dec\.model\.0\.model\.(\d+)\.")
    )
    convs = layout.length(layout.numbers(names, r"enc\.model\.(\d+)\.conv\."))
    found = {"residuals": max(encoder, decoder), "halvings": convs - 1}
    return {name: number for name, number in found.items() if number > 0}


def official_2018(state: Tensors, tensors: Tensors, *, source: str, target: str) -> Tensors:
    """Name our tensors as the second release does, whose residual blocks stand one level deeper."""
    count = layout.length(layout.numbers(state, r"decoder\.(\d+)\.first\."))
    first = layout.length(layout.numbers(state, r"encoder\.(\d+)\.conv\."))

    def place(match: re.Match[str]) -> str:
        number, half = int(match[2]), match[1]
        if match[3] in ("first", "second"):
            block, inside = (first, number - first) if half == "enc" else (0, number)
            return f"{half}.model.{block}.model.{inside}.model.{int(match[3] == 'second')}.conv."
        return f"{half}.model.{number if half == 'enc' else number - count + 1}.{match[3] or 'conv'}."

    pairs = (
        (r"^(enc|dec)oder\.(\d+)\.(?:(first|second|conv|norm)\.)?", place),
        (r"\.norm\.weight$", ".norm.gamma"),
        (r"\.norm\.bias$", ".norm.beta"),
    )
    named = layout.renamed(*pairs)(state, tensors)
    return paired(named, tensors, {"enc": source, "dec": target})


def paired(named: Tensors, tensors: Tensors, domains: dict[str, str]) -> Tensors:
    """Put domains before the names, where a file holds two.

    Args:
        named: Official tensors of one domain.
        tensors: The file.
        domains: Of the two, which one is taken, by the first part of the names.

    Returns:
        For two domains also what is not taken, without memory.
    """
    if not any(PAIRED.match(key) for key in tensors):
        return named
    taken = {f"{domains[key.split('.')[0]]}.{key}": value for key, value in named.items()}
    both = {f"{domain}.{key}": value.to("meta") for domain in "ab" for key, value in named.items()}
    return taken | {key: value for key, value in both.items() if key not in taken}


def settings_shared(tensors: Tensors) -> Settings:
    """Count the convolutions of the discriminator with a shared tail."""
    front, shared = (layout.length(layout.numbers(tensors, rf"model_{part}\.(\d+)\.")) for part in ("[AB]", "S"))
    return ({"front": front} if front else {}) | ({"shared": shared - 1} if shared > 1 else {})


def settings_gaussian(tensors: Tensors) -> Settings:
    """Count scales and convolutions of the multi-scale discriminator of the first release."""
    scales = {scale.bit_length() - 1 for scale in layout.numbers(tensors, r"model_(\d+)_[AB]\.")}
    return judges(scales, layout.numbers(tensors, r"model_\d+_[AB]\.(\d+)\."))


def settings_judges_2018(tensors: Tensors) -> Settings:
    """Count scales and convolutions of the discriminator of the second release."""
    names = {PAIRED.sub("", key) for key in tensors}
    return judges(layout.numbers(names, r"cnns\.(\d+)\."), layout.numbers(names, r"cnns\.\d+\.(\d+)\."))


def judges(scales: set[int], convs: set[int]) -> Settings:
    """Give the settings of several discriminators that are alike; the last convolution of each is no stage."""
    found = {"scales": layout.length(scales), "depth": layout.length(convs) - 1}
    return {name: number for name, number in found.items() if number > 0}


def official_judges(state: Tensors, tensors: Tensors) -> Tensors:
    """Name the tensors of a discriminator as the first release does; ours count the activations, too."""
    ends: dict[str, int] = {}
    split = [(*key.rsplit(".", 2), value) for key, value in state.items()]
    for path, place, _, _ in split:
        ends[path] = max(ends.get(path, 0), int(place))
    named = {}
    for path, place, leaf, value in split:
        part, *rest = path.split(".")
        letter = "S" if part == "tail" else {"photo": "A", "anime": "B"}[rest[0]]
        scale = f"{2 ** int(rest[1])}_" if part == "judges" else ""
        last = part != "fronts" and int(place) == ends[path]
        named[f"model_{scale}{letter}.{int(place) // 2}{'' if last else '.model.0'}.{leaf}"] = value
    return named


def official_judges_2018(state: Tensors, tensors: Tensors) -> Tensors:
    """Name the tensors of a discriminator as the second release does; of two domains the anime's, b, is taken."""
    last = max(layout.numbers(state, r"judges\.\d+\.(\d+)\."))

    def place(match: re.Match[str]) -> str:
        return f"cnns.{match[1]}.{int(match[2]) // 2}.{'' if int(match[2]) == last else 'conv.'}"

    return paired(layout.renamed((r"^judges\.(\d+)\.(\d+)\.", place))(state, tensors), tensors, {"cnns": "b"})


FIRST = "CC BY-NC-SA 4.0 (mingyuliutw/UNIT, branch version_02)"
SECOND = "CC BY-NC-SA 4.0 (mingyuliutw/UNIT)"
sized = functools.partial(Layout, sizes={"width": "."})
first_release = functools.partial(sized, terms=FIRST)
second_release = functools.partial(sized, tidy=tidy_2018, terms=SECOND)


def generator_2017(photo: str) -> Layout:
    """Make the layout of a generator of the first release, whose photos are of this domain."""
    official = layout.renamed(*names_2017(photo))
    return first_release(card="unit", build=unit.UNIT, settings=settings_2017, tidy=tidy_2017, official=official)


def generator_2018(source: str, target: str) -> Layout:
    """Make the layout of a generator of the second release, from one domain to the other."""
    official = functools.partial(official_2018, source=source, target=target)
    return second_release(card="unit2018", build=unit.UNIT2018, settings=settings_2018, official=official)


LAYOUTS = {
    "unit": generator_2017("A"),
    "unit-reverse": generator_2017("B"),
    "unit-discriminator": first_release(
        card=None, build=unit.SharedDiscriminator, settings=settings_shared, official=official_judges
    ),
    "unit-multiscale-discriminator": first_release(
        card=None, build=unit.GaussianDiscriminator, settings=settings_gaussian, official=official_judges
    ),
    "unit2018": generator_2018("a", "b"),
    "unit2018-reverse": generator_2018("b", "a"),
    "unit2018-discriminator": second_release(
        card=None, build=unit.MultiScaleDiscriminator, settings=settings_judges_2018, official=official_judges_2018
    ),
}
