#!/usr/bin/env bash
# Makes .cache/golden: a Python with numpy, gguf, torch, transformers, and llama.cpp built from source twice:
# for this processor, and for AVX2 whatever the processor has. Run again, it does nothing; the first time it
# compiles for about 15 minutes on one core (BATON_JOBS=N for more), niced.
#
#   .cache/golden/bin/python3                               `import llama_cpp`: the native build
#   PYTHONPATH=.cache/golden/llama-avx2 .cache/golden/...   `import llama_cpp`: the AVX2 build
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
llama="llama-cpp-python==0.3.36"
pip() { nice -n 19 .cache/golden/bin/pip --disable-pip-version-check install --quiet "$@"; }
export CMAKE_BUILD_PARALLEL_LEVEL=${BATON_JOBS:-1}

[ -x .cache/golden/bin/pip ] || python3 -m venv .cache/golden
if [ ! -f .cache/golden/.native ]; then
    CMAKE_ARGS="-DGGML_NATIVE=ON" pip --no-binary llama-cpp-python "$llama"
    touch .cache/golden/.native
fi
if [ ! -f .cache/golden/.packages ]; then
    pip numpy==2.4.6 gguf==0.19.0 transformers==5.23.0
    pip torch==2.15.0 --index-url https://download.pytorch.org/whl/cpu || pip torch==2.15.0
    touch .cache/golden/.packages
fi
if [ ! -f .cache/golden/.avx2 ]; then
    rm -rf .cache/golden/llama-avx2
    features=(NATIVE=OFF AVX512=OFF AVX=ON AVX2=ON FMA=ON F16C=ON BMI2=ON)
    export CMAKE_ARGS="${features[*]/#/-DGGML_}"
    pip --no-cache-dir --no-deps --no-binary llama-cpp-python --target .cache/golden/llama-avx2 "$llama"
    touch .cache/golden/.avx2
fi
