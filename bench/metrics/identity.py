"""Identity: does the prediction still show the same person as the photo?"""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

THRESHOLD = 0.6  # of the detector's score
TEMPLATE = np.array(  # the usual five points of a 112 x 112 aligned face: eyes, nose, corners of the mouth
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)

Pixels = UInt8[np.ndarray, "height width 3"]
Embedding = Float[np.ndarray, "dim"]


class Judge:
    """Finds the largest face with YuNet, aligns it by five points and embeds it with MobileFace V2.

    Args:
        detector: YuNet, .onnx.
        embedder: MobileFace V2, .onnx.

    Raises:
        RuntimeError: OpenCV cannot read one of them.
    """

    def __init__(self, detector: Path, embedder: Path) -> None:
        try:
            self._detector = cv2.FaceDetectorYN.create(str(detector), "", (320, 320), score_threshold=THRESHOLD)
            self._embedder = cv2.dnn.readNetFromONNX(str(embedder))
        except cv2.error as error:
            raise RuntimeError(f"OpenCV cannot read {detector.name} and {embedder.name}: {error}") from error

    def embed(self, pixels: Pixels) -> Embedding | None:
        """Give the unit-length embedding of the largest face, (256,), or None where none is found.

        Args:
            pixels: RGB, 0 to 255, (height, width, 3).
        """
        image = np.ascontiguousarray(pixels[:, :, ::-1])
        matrix = self._alignment(image)
        if matrix is None:
            return None
        aligned = cv2.warpAffine(image, matrix, (112, 112))
        # the network normalises by itself: RGB, 0 to 255
        self._embedder.setInput(aligned[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32))
        vector = self._embedder.forward()[0]
        return vector / np.linalg.norm(vector)

    def _alignment(self, image: np.ndarray) -> np.ndarray | None:
        self._detector.setInputSize((image.shape[1], image.shape[0]))
        faces = self._detector.detect(image)[1]
        if faces is None:
            return None
        largest = max(faces, key=lambda face: face[2] * face[3])
        points = largest[4:14].reshape(5, 2).astype(np.float32)
        return cv2.estimateAffinePartial2D(points, TEMPLATE, method=cv2.LMEDS)[0]


def identity(
    prediction: Pixels,
    photo: UInt8[np.ndarray, "photo_height photo_width 3"],
    *,
    embed: Callable[[np.ndarray], Embedding | None],
) -> float | None:
    """Compare the face of the prediction with the face of the photo.

    Args:
        prediction: RGB, 0 to 255, (height, width, 3).
        photo: The photo it was made of; its size may differ.
        embed: Gives the embedding of a picture's face or None; `Judge(...).embed` for the benchmark.

    Returns:
        The cosine of the two embeddings, or None where one of the pictures shows no face.

    Range: [-1, 1]; with the judge above the same person has 0.78 +- 0.15, another one 0.03 +- 0.11.
    Direction: higher is better.
    Reference: hand-computed cosines of a synthetic embedder, 1e-6.
    """
    vectors = [embed(pixels) for pixels in (prediction, photo)]
    if vectors[0] is None or vectors[1] is None:
        return None
    a, b = np.asarray(vectors[0], np.float64), np.asarray(vectors[1], np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
