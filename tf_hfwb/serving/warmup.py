"""Requests that TensorFlow Serving runs when it loads a version, so that the first user does not wait for it."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from tf_hfwb.serving.export_check import Example


def write_warmup(path: pathlib.Path, name: str, examples: Sequence[Example]) -> int:
    """Write the examples into a SavedModel as ``assets.extra/tf_serving_warmup_requests``.

    Args:
        path: The SavedModel.
        name: The name by which the server knows the model.
        examples: The requests; those without a row are left out.

    Returns:
        The number of requests.

    Raises:
        ImportError: ``tensorflow-serving-api``, which knows the format, is not installed.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    file = path / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir()
    number = 0
    with tf.io.TFRecordWriter(str(file)) as writer:
        for example in examples:
            if not all(len(value) for value in example.inputs.values()):
                continue
            request = predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = name, example.signature
            for key, value in example.inputs.items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())
            number += 1
    return number
