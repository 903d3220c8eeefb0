"""A stand-in for TensorFlow Serving: answers Predict calls, by REST and gRPC, from a SavedModel on the loopback.

By gRPC it takes tensors of the signature's own types only, as the server does.
"""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import http.server
import json
import threading
from collections.abc import Iterator

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def answer(signatures, name: str, inputs):
    """The outputs of a signature; inputs get the types that it says."""
    signature = signatures[name]
    specs = signature.structured_input_signature[1]
    missing = specs.keys() ^ inputs.keys()
    if missing:
        raise ValueError(f"inputs must be {sorted(specs)}")
    return signature(**{key: tf.constant(value, specs[key].dtype) for key, value in inputs.items()})


def _bytes(rows):
    return [base64.b64decode(row["b64"]) for row in rows]


def _as_json(value):
    if value.dtype == object:
        return np.vectorize(bytes.decode, otypes=[object])(value).tolist()
    return value.tolist()


@contextlib.contextmanager
def predict_server(directory, model: str) -> Iterator[tuple[str, str]]:
    """Serve a version's directory; gives the addresses of REST and gRPC."""
    signatures = tf.saved_model.load(str(directory)).signatures

    class Rest(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, reply = 200, {}
            try:
                if self.path != f"/v1/models/{model}:predict":
                    raise ValueError(f"Malformed request: POST {self.path}")
                inputs = {
                    name: _bytes(rows) if name.endswith("_bytes") else rows for name, rows in body["inputs"].items()
                }
                outputs = answer(signatures, body["signature_name"], inputs)
                plain = {name: _as_json(value.numpy()) for name, value in outputs.items()}
                reply = {"outputs": plain if len(plain) > 1 else next(iter(plain.values()))}
            except (KeyError, TypeError, ValueError) as error:
                status, reply = 400, {"error": str(error)}
            content = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments):
            pass

    class Grpc(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            if request.model_spec.name != model:
                context.abort(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {request.model_spec.name}")
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            specs = signatures[request.model_spec.signature_name].structured_input_signature[1]
            for name, value in request.inputs.items():
                if name in specs and value.dtype != specs[name].dtype.as_datatype_enum:
                    wanted, given = specs[name].dtype.name, tf.as_dtype(value.dtype).name
                    message = f"{name} is expected to be of type {wanted}, but {given} was given"
                    context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
            response = predict_pb2.PredictResponse()
            for name, value in answer(signatures, request.model_spec.signature_name, inputs).items():
                response.outputs[name].CopyFrom(tf.make_tensor_proto(value.numpy()))
            return response

    rest = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Rest)
    thread = threading.Thread(target=rest.serve_forever)
    thread.start()
    service = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Grpc(), service)
    port = service.add_insecure_port("127.0.0.1:0")
    service.start()
    try:
        yield f"127.0.0.1:{rest.server_port}", f"127.0.0.1:{port}"
    finally:
        service.stop(None)
        rest.shutdown()
        rest.server_close()
        thread.join()
