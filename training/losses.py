"""Loss terms, one pure function each; all means, all finite, all zero at their optimum."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from models.image import Images
from models.layers import Features

Scalar = Float[Tensor, ""]
GRAY = (0.2989, 0.587, 0.114)
YUV = ((0.299, 0.587, 0.114), (-0.14714119, -0.28886916, 0.43601035), (0.61497538, -0.51496512, -0.10001026))
# Linear RGB to CIE XYZ of sRGB, each row divided by the D65 white (2 degree observer).
XYZ_OVER_WHITE = (
    (0.412453 / 0.95047, 0.357580 / 0.95047, 0.180423 / 0.95047),
    (0.212671, 0.715160, 0.072169),
    (0.019334 / 1.08883, 0.119193 / 1.08883, 0.950227 / 1.08883),
)


def lsgan(logits: Float[Tensor, "..."], target: float) -> Scalar:
    """Ask that the logits equal a target: mean squared difference.

    Source:
        Least Squares GAN (Mao et al., 2017), equation 2; DTGAN softens the targets of its support tail to 0.9 and 0.1.
    """
    return (logits.float() - target).square().mean()


def content_loss(real: Features, fake: Features, *, places: Float[Tensor, "batch 1 _h _w"] | None = None) -> Scalar:
    """Mean absolute difference of two maps of one layer, or of two images; 0 when equal.

    Args:
        real: Map (B, C, H, W).
        fake: Likewise.
        places: How much each place counts, of any size, such as eyes and mouth more than the rest; None for equally.

    Source:
        AnimeGAN (Chen, Liu and Chen, 2019), section 3.2. DTGAN divides it by the channels; `Calibration` covers both.
    """
    difference = (real.float() - fake.float()).abs()
    if places is None:
        return difference.mean()
    counts = F.adaptive_avg_pool2d(places.float(), (difference.shape[2], difference.shape[3]))
    return (difference * counts).mean() / counts.mean()


def gram(features: Features) -> Float[Tensor, "batch channels channels"]:
    """Correlations of the channels, divided by H * W * C; float32 whatever comes in.

    Source:
        Image Style Transfer (Gatys et al., 2016), equation 3, with AnimeGAN's divisor.
    """
    batch, channels, height, width = features.shape
    flat = features.float().reshape(batch, channels, height * width)  # (B, C, H*W)
    with torch.autocast(flat.device.type, enabled=False):
        return flat @ flat.transpose(1, 2) / (height * width * channels)


def centered(features: Features) -> Features:
    """Subtract from every channel its spatial mean, so that its Gram matrix does not see brightness."""
    return features.float() - features.float().mean(dim=(2, 3), keepdim=True)


def style_loss(domain: Features, fake: Features, *, center: bool = True) -> Scalar:
    """Mean absolute difference of the Gram matrices of two maps.

    Args:
        domain: Map of gray pictures of the domain (B, C, H, W).
        fake: The same layer's map of the fakes; DTGAN makes them gray too.
        center: Subtract the spatial means first.

    Source:
        DTGAN, section 3: "decentralised" Gram matrices; its division by C is covered by `Calibration`. AnimeGAN,
        section 3.2: plain ones.
    """
    if center:
        domain, fake = centered(domain), centered(fake)
    return (gram(domain) - gram(fake)).abs().mean()


def gray(images: Images) -> Images:
    """Luminance (0.2989, 0.587, 0.114), repeated over the three channels."""
    weights = images.new_tensor(GRAY).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True).expand(-1, 3, -1, -1)


def yuv(images: Images) -> Images:
    """RGB in [-1, 1] to BT.601 YUV: Y in [0, 1], U and V about [-0.44, 0.44] and [-0.62, 0.62]."""
    with torch.autocast(images.device.type, enabled=False):
        return torch.einsum("ij,bjhw->bihw", images.new_tensor(YUV, dtype=torch.float32), (images.float() + 1) / 2)


def yuv_loss(photo: Images, fake: Images) -> Scalar:
    """Ask that the colours of the photo stay: |dY| plus the Huber losses of U and V, averaged over pixels.

    Source:
        AnimeGAN (Chen, Liu and Chen, 2019), section 3.2, its colour reconstruction term; delta 1, as released.
    """
    (y, u, v), (own_y, own_u, own_v) = yuv(photo).unbind(1), yuv(fake).unbind(1)
    return (y - own_y).abs().mean() + F.huber_loss(own_u, u) + F.huber_loss(own_v, v)


def lab(images: Images) -> Images:
    """RGB in [-1, 1] to CIE L*a*b*: L in [0, 100], a and b about [-110, 110]; finite gradient everywhere.

    Source:
        sRGB (IEC 61966-2-1) and CIE 1976; D65 white, 2 degree observer.
    """
    rgb = ((images.float() + 1) / 2).clamp(0, 1)
    # Both branches of a `where` are differentiated: clamp below the threshold, or the power's slope at 0 becomes NaN.
    linear = torch.where(rgb > 0.04045, ((rgb.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    matrix = linear.new_tensor(XYZ_OVER_WHITE)
    with torch.autocast(linear.device.type, enabled=False):
        xyz = torch.einsum("ij,bjhw->bihw", matrix, linear)
    f = torch.where(xyz > 0.008856, xyz.clamp(min=0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def color_loss(photo: Images, fake: Images) -> Scalar:
    """Ask that the colours of the photo stay: 2 |dL| / 100 + |da| / 255 + |db| / 255, averaged over pixels.

    Source:
        DTGAN, section 3, the Lab colour term of the released code.
    """
    difference = (lab(photo) - lab(fake)).abs().mean(dim=(0, 2, 3))
    return 2 * difference[0] / 100 + difference[1] / 255 + difference[2] / 255


def cast_loss(photo: Images, drawn: Images, fake: Images, *, area: int = 16) -> Scalar:
    """Ask for no colour cast: square areas keep the photo's mean a and b and the drawing's mean L, in units of 100.

    Single pixels are free, so lines cost nothing; the sides have to be multiples of `area`, in pixels.
    """
    means = [F.avg_pool2d(lab(images), area) for images in (photo, drawn, fake)]
    target = torch.cat([means[1][:, :1], means[0][:, 1:]], dim=1)
    return (target - means[2]).abs().mean() / 100


def identity_loss(photo: Float[Tensor, "batch dim"], fake: Float[Tensor, "batch dim"]) -> Scalar:
    """Ask that a face stays the same person's: one minus the cosine of two unit-length embeddings, in [0, 2]."""
    return 1 - (photo * fake).sum(dim=1).mean()


def total_variation(images: Images) -> Scalar:
    """Half the mean squared step to the pixel below plus half that to the pixel on the right."""
    vertical = images[..., 1:, :] - images[..., :-1, :]
    horizontal = images[..., :, 1:] - images[..., :, :-1]
    return vertical.square().mean() / 2 + horizontal.square().mean() / 2


def saturated(images: Images) -> float:
    """Share of pixels in which every channel is nearly black, or every channel nearly white: a figure, no loss."""
    extreme = (images > 0.98).all(dim=1) | (images < -0.98).all(dim=1)
    return float(extreme.float().mean())


def figures(photo: Images, fake: Images) -> dict[str, float]:
    """What the log tells of a batch besides the losses: burnt highlights and blotches show here first."""
    return {"saturated": saturated(fake), "saturated_photo": saturated(photo)}


class Calibration(torch.nn.Module):
    """Maps the units of any perceptual network to those of the reference trace.

    A term's scale is its reference divided by the mean of its raw values over the first `window` calls, so that the
    scaled term has the reference's mean over just these calls; after them it never changes. State lives in buffers.

    Args:
        reference: Mean that each term, before its weight, shall have.
        window: Calls that are averaged.
    """

    reference: Tensor
    total: Tensor
    calls: Tensor

    def __init__(self, reference: dict[str, float], *, window: int = 100) -> None:
        super().__init__()
        self.names, self.window = list(reference), window
        self.register_buffer("reference", torch.tensor(list(reference.values())), persistent=False)
        self.register_buffer("total", torch.zeros(len(reference), dtype=torch.float64))
        self.register_buffer("calls", torch.zeros(len(reference), dtype=torch.int64))

    def forward(self, name: str, raw: Scalar) -> Scalar:
        """Give the raw value of term `name` in the units of its reference."""
        index = self.names.index(name)
        if self.training and self.calls[index] < self.window:
            self.total[index] += raw.detach().double()
            self.calls[index] += 1
        return raw * self.scale(name)

    def scales(self) -> dict[str, float]:
        """Current factors of all terms, as the log names them."""
        return {f"scale_{name}": self.scale(name) for name in self.names}

    def scale(self, name: str) -> float:
        """Current factor of a term; 1 before its first call."""
        index = self.names.index(name)
        if self.calls[index] == 0 or self.total[index] == 0:
            return 1.0
        return float(self.reference[index] * self.calls[index] / self.total[index])
