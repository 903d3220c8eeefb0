"""Ask TensorFlow Serving for the labels of texts, by REST or by gRPC: see serve.md.

    python examples/serving_client.py --model sentiment "I like it." "I do not."
    python examples/serving_client.py --model sentiment --protocol grpc --address localhost:8500 "I like it."

REST needs nothing but Python; gRPC needs ``pip install "tf_hfwb[serving]"``.
"""

from __future__ import annotations

import argparse
import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

Columns = Mapping[str, Sequence[Any]]


def ask_by_rest(
    address: str, model: str, signature: str, inputs: Columns, timeout: float = 30.0
) -> dict[str, list[Any]]:
    """The answers by name, each a list with an entry for each row.

    Args:
        address: Such as ``localhost:8501``.
        model: The name under which the server has the model.
        signature: Such as ``serving_default``.
        inputs: A list of rows for each input, such as ``{"text": ["I like it."]}``, or ``{"image_bytes": [png]}`` with
            the bytes of a file.
        timeout: Seconds to wait.

    Raises:
        RuntimeError: The server refused, with its own message; or there is none.
    """
    body = json.dumps({"signature_name": signature, "inputs": inputs}, default=_in_json).encode()
    request = urllib.request.Request(f"http://{address}/v1/models/{model}:predict", body)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            outputs = json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{error.code}: {error.read().decode(errors='replace')}") from error
    except OSError as error:
        raise RuntimeError(f"{address} does not answer: {error}. Is the server running there?") from error
    # With a single output the server leaves its name out.
    return outputs if isinstance(outputs, dict) else {"output": outputs}


def ask_by_grpc(
    address: str, model: str, signature: str, inputs: Columns, timeout: float = 30.0
) -> dict[str, list[Any]]:
    """Do the same as :func:`ask_by_rest`, on the server's gRPC port, such as ``localhost:8500``.

    Raises:
        RuntimeError: The server refused; the message is its own.
    """
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, rows in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(_as_array(name, rows)))
    with grpc.insecure_channel(address) as channel:
        try:
            response = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout)
        except grpc.RpcError as error:
            raise RuntimeError(f"{error.code().name}: {error.details()}") from error
    answers = {name: tf.make_ndarray(value) for name, value in response.outputs.items()}
    return {name: _texts(value) if value.dtype == object else value.tolist() for name, value in answers.items()}


def _as_array(name: str, rows: Sequence[Any]) -> Any:
    """The rows in the type that the exported models take, which the server insists on: int32, float32 or bytes."""
    import numpy as np

    values = np.array(rows)
    if not values.size:  # Which does not tell of what: the names do.
        return values.astype("int32" if name.endswith(("_ids", "_mask")) else "float32" if "values" in name else object)
    if values.dtype.kind in "SUO":  # As objects: arrays of bytes drop zeros at the end.
        return np.array(rows, dtype=object)
    return values.astype("float32" if values.dtype.kind == "f" else "int32")


def _in_json(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(value).decode()}


def _texts(values: Any) -> list[Any]:
    return [_texts(value) if getattr(value, "ndim", 0) else value.decode() for value in values]


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", metavar="TEXT")
    parser.add_argument("--model", required=True, help="the name under which the server has the model")
    parser.add_argument("--signature", default="serving_default")
    parser.add_argument("--protocol", choices=["rest", "grpc"], default="rest")
    parser.add_argument("--address", help="localhost:8501 for REST, and localhost:8500 for gRPC, by default")
    arguments = parser.parse_args(argv)
    ask = ask_by_rest if arguments.protocol == "rest" else ask_by_grpc
    address = arguments.address or ("localhost:8501" if arguments.protocol == "rest" else "localhost:8500")
    try:
        answers = ask(address, arguments.model, arguments.signature, {"text": arguments.texts})
    except RuntimeError as error:
        parser.exit(1, f"error: {error}\n")
    for index, text in enumerate(arguments.texts):
        print(json.dumps({"text": text, **{name: rows[index] for name, rows in answers.items()}}, ensure_ascii=False))


if __name__ == "__main__":
    main()
