"""The pixels that the graph makes of a picture, against those of the image processors themselves."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import tiny
import transformers

from tf_hfwb.errors import SettingError
from tf_hfwb.serving.images_in_graph import PicturesInGraph, UnsupportedProcessorError
from tf_hfwb.serving.processing_in_graph import processing_for
from tf_hfwb.serving.transformers_servable import Servable

SIZES = [(31, 17), (64, 64), (240, 319), (2, 5), (2, 1), (224, 224), (480, 500)]
BY_CLIP = {"image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}
PROCESSORS = {
    "vit": lambda: transformers.ViTImageProcessor(),
    "bicubic": lambda: transformers.ViTImageProcessor(size={"height": 300, "width": 20}, resample=3, **BY_CLIP),
    "cut out": lambda: transformers.DeiTImageProcessor(
        size={"height": 57, "width": 58}, crop_size={"height": 50, "width": 51}
    ),
    "levels": lambda: transformers.ViTImageProcessor(
        size={"height": 40, "width": 9}, do_rescale=False, do_normalize=False
    ),
}


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("size", SIZES)
def test_pixels_are_those_of_the_image_processor(processor, size):
    processor, original = PROCESSORS[processor](), picture(*size)
    ours = PicturesInGraph(processor)(tf.constant([tf.io.encode_png(original).numpy()])).numpy()
    given = PIL.Image.fromarray(original)  # Of an array it cannot tell the channels when it is small.
    theirs = np.asarray(processor(images=[given], return_tensors="np")["pixel_values"])
    level = np.ptp(theirs) / 255
    # Where Pillow goes to the new height first, single values are a level apart.
    assert (np.abs(ours - theirs) > 0.01 * level).mean() < (0.01 if min(size) > 100 else 0.3)
    assert np.abs(ours - theirs).mean() < 0.3 * level


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "GIF", "BMP"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_files_are_decoded_as_pillow_does_it(file_format, mode):
    file = io.BytesIO()
    PIL.Image.fromarray(picture(120, 90)).convert(mode).save(file, file_format)
    processor = transformers.ViTImageProcessor(size={"height": 64, "width": 64})
    ours = PicturesInGraph(processor)(tf.constant([file.getvalue()])).numpy()
    theirs = processor(images=[PIL.Image.open(file).convert("RGB")], return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(ours, theirs, atol=1.01 / 127.5)
    assert (np.abs(ours - theirs) > 1e-4).mean() < 0.3


def test_a_batch_may_be_empty():
    assert PicturesInGraph(transformers.ViTImageProcessor())(tf.constant([], tf.string)).shape == (0, 3, 224, 224)


@pytest.mark.parametrize(
    ("processor", "reason"),
    [
        (lambda: transformers.ConvNextImageProcessor(), "crop_pct"),
        (lambda: transformers.CLIPImageProcessor(), "shortest_edge"),
        (lambda: transformers.ViTImageProcessor(resample=0), "method 0"),
        (lambda: transformers.ViTImageProcessor(do_resize=False), "does not resize"),
        (lambda: transformers.DeiTImageProcessor(crop_size={"height": 300, "width": 9}), "more than"),
        (lambda: object(), "no image processor"),
    ],
)
def test_what_cannot_be_built_is_said(processor, reason):
    with pytest.raises(UnsupportedProcessorError, match=reason):
        PicturesInGraph(processor())


def test_other_pixels_are_noticed():
    class ByNearest(transformers.ViTImageProcessor):
        def preprocess(self, images, **options):
            return super().preprocess(images, resample=0, **options)

    with pytest.raises(UnsupportedProcessorError, match="of 256 levels apart"):
        PicturesInGraph(ByNearest(size={"height": 8, "width": 8}))


def test_the_size_of_pictures_is_the_models():
    small, large = (transformers.ViTImageProcessor(size={"height": size, "width": size}) for size in (8, 16))
    with pytest.raises(SettingError, match=r"processing_class='16x16' .* makes pictures of 8x8, which TFViT"):
        processing_for(tiny.vit(), large)
    assert processing_for(tiny.vit(), small).sides == (8, 8)


def test_a_model_that_takes_any_size_takes_that_of_the_image_processor():
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], num_labels=3)
    model = tiny.seeded(transformers.TFResNetForImageClassification, config)
    pictures = PicturesInGraph(transformers.ViTImageProcessor(size={"height": 32, "width": 40}))
    for processing, shape in ((None, [None, 3, None, None]), (pictures, [None, 3, 32, 40])):
        served = Servable(model, processing, None)
        assert served._inputs["pixel_values"].shape.as_list() == shape
        nothing = tf.zeros([0, *(side or 50 for side in shape[1:])])
        assert served.signatures["pixel_values"](pixel_values=nothing)["label"].shape == (0,)
