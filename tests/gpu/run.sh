#!/usr/bin/env bash
# What only a GPU shows: memory held by snapshots, the stall of a save, the cost of logging, 16 bits, replicas, XLA.
#
#     tests/gpu/run.sh                # about ten minutes; PYTHON=... names another Python than the one on the path
#
# Prints a table, and fails if a value is out of its bounds. Without a GPU that TensorFlow can use it says so, exits with
# 0 and claims nothing.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
export PYTHONPATH="$here/../..${PYTHONPATH:+:$PYTHONPATH}" TF_CPP_MIN_LOG_LEVEL=${TF_CPP_MIN_LOG_LEVEL:-3}
exec "$python" "$here/gpu_checks.py" "$@"
