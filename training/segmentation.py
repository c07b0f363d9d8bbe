"""What DTGAN asks of classical image processing, on uint8 arrays and without torch: it runs in worker processes."""

import functools
import multiprocessing
import multiprocessing.process
import os
import threading

import numpy as np
from jaxtyping import UInt8

from models import faces

Pixels = UInt8[np.ndarray, "height width 3"]


def superpixels(pixels: Pixels, min_size: int) -> Pixels:
    """Replace every region of an image by its mean colour.

    Args:
        pixels: RGB.
        min_size: Smallest region, in pixels.

    Returns:
        RGB of the same shape.

    Source:
        Efficient Graph-Based Image Segmentation (Felzenszwalb and Huttenlocher, 2004), scale 5, sigma 0.8, as DTGAN.
    """
    from skimage.segmentation import felzenszwalb

    labels = felzenszwalb(pixels, scale=5, sigma=0.8, min_size=min_size).ravel()
    sizes = np.bincount(labels)
    means = np.stack([np.bincount(labels, weights=channel) / sizes for channel in pixels.reshape(-1, 3).T], axis=1)
    return means[labels].round().astype(np.uint8).reshape(pixels.shape)


def denoise(pixels: Pixels, strength: tuple[int, int]) -> Pixels:
    """Non-local means with a 5-pixel template and a 7-pixel search window.

    Args:
        pixels: RGB.
        strength: Filter strength for luminance and for colour.

    Source:
        Non-local means denoising (Buades, Coll and Morel, 2011), OpenCV's implementation.
    """
    import cv2

    return cv2.fastNlMeansDenoisingColored(pixels, None, strength[0], strength[1], 5, 7)


def smooth_edges(pixels: Pixels, *, white_noise: float = 0.0, seed: int = 0) -> Pixels:
    """Blur a drawing along its edges only: the counter-example that teaches a discriminator to ask for clean lines.

    Args:
        pixels: RGB.
        white_noise: Share of pixel draws that become white afterwards.
        seed: Of the noise.

    Source:
        CartoonGAN (Chen, Lai and Liu, 2018), section 3.2; Canny 100/200, dilation 5x5, Gaussian 5x5 on what it covers.
    """
    import cv2

    edges = cv2.Canny(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), 100, 200)
    near = cv2.dilate(edges, np.ones((5, 5), np.uint8)) > 0
    blurred = cv2.GaussianBlur(pixels, (5, 5), 0, borderType=cv2.BORDER_REFLECT_101)
    smooth = np.where(near[..., None], blurred, pixels)
    if white_noise > 0:
        generator = np.random.default_rng(seed)
        height, width = pixels.shape[:2]
        count = round(white_noise * height * width)
        smooth[generator.integers(0, height, count), generator.integers(0, width, count)] = 255
    return smooth


def segment_and_denoise(
    support: Pixels, raw: Pixels, min_size: int, strength: tuple[int, int]
) -> tuple[Pixels, Pixels]:
    """One worker's job per image and step: superpixels of G_s1, denoised G_s0."""
    return superpixels(support, min_size), denoise(raw, strength)


def features_of_face(pixels: Pixels) -> Pixels:
    """Mark eyes and mouth of the largest face: 255 at their centres, falling off as a Gaussian; 0 without a face.

    Args:
        pixels: RGB.

    Returns:
        The marks, the same in all three channels.

    Raises:
        OSError: YuNet is neither at hand nor to be downloaded; no other detector gives points.
    """
    found = faces.find(pixels, detector=_yunet())[:1]
    marks = np.zeros(pixels.shape[:2])
    for face in found:
        eye, other, _, *corners = np.asarray(face.points)
        for (x, y), width in ((eye, 0.09), (other, 0.09), (np.mean(corners, axis=0), 0.13)):
            rows, columns = np.ogrid[: len(pixels), : pixels.shape[1]]
            square = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2
            marks = np.maximum(marks, np.exp(-square / (2 * (width * face.side) ** 2)))
    return np.repeat((255 * marks).round().astype(np.uint8)[..., None], 3, axis=2)


@functools.cache
def _yunet() -> faces.Detector:
    """Read the detector once per process."""
    return faces.detector(fetch=True)


def begin_worker() -> None:
    """Start a worker process: one thread for OpenCV and torch, and an end with the process that started it."""
    import cv2

    cv2.setNumThreads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when it is imported, which no worker has done yet
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=end_with, args=(parent,), daemon=True).start()


def end_with(parent: multiprocessing.process.BaseProcess) -> None:
    """Leave when another process is gone; a killed parent cannot tell its workers."""
    parent.join()
    os._exit(1)
