"""A program that answers requests from a SavedModel with TensorFlow alone.

Its standard input is a line for each request: JSON with ``model``, the SavedModel's directory, ``requests``, a file of
:func:`numpy.savez` with the inputs, and ``answers``, the file to write, and
``text_operations``, whether those of tensorflow-text are needed. Inputs and answers are called
``{number}/{signature}/{name}``. It is started early, to have imported TensorFlow in time.
"""

from __future__ import annotations

import collections
import importlib
import json
import sys

_PACKAGES = ("keras", "tf_keras", "tensorflow_text", "transformers")


def main() -> None:
    """Answer until the standard input ends."""
    for package in _PACKAGES:
        sys.modules[package] = None  # type: ignore[assignment]  # Importing it is an error: no server has it.
    import numpy as np
    import tensorflow as tf

    # Optimising the graphs takes longer than answering a few requests.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    for line in sys.stdin:
        job = json.loads(line)
        if job["text_operations"]:  # A server has them. The Python package that loads them here needs a Keras.
            for package in _PACKAGES:
                sys.modules.pop(package, None)
            importlib.import_module("tensorflow_text")
        model = tf.saved_model.load(job["model"])
        requests: dict[tuple[str, str], dict[str, object]] = collections.defaultdict(dict)
        with np.load(job["requests"]) as file:
            for key in file:
                number, signature, name = key.split("/", 2)
                requests[number, signature][name] = tf.constant(file[key])
        answers = {}
        for (number, signature), inputs in requests.items():
            for name, value in model.signatures[signature](**inputs).items():
                array = value.numpy()
                answers[f"{number}/{signature}/{name}"] = array.astype("S") if array.dtype == object else array
        np.savez(job["answers"], **answers)


if __name__ == "__main__":
    main()
