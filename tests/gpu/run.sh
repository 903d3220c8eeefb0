#!/usr/bin/env bash
# What only a GPU shows: memory held by snapshots, the stall of a save, the cost of logging, 16 bits, replicas, XLA.
#
#     tests/gpu/run.sh                # about ten minutes; PYTHON=... names another Python than the one on the path
#     tests/gpu/run.sh jax            # Keras 3 on JAX, which needs neither TensorFlow nor transformers; about five
#
# Prints a table, and fails if a value is out of its bounds. Without a GPU that the framework can use it says so, exits
# with 0 and claims nothing.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
framework=tensorflow
if [[ ${1-} == jax || ${1-} == tensorflow ]]; then
    framework=$1
    shift
fi
export PYTHONPATH="$here/../..${PYTHONPATH:+:$PYTHONPATH}" TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-3}
exec "$python" "$here/${framework}_checks.py" "$@"
