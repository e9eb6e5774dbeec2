#!/bin/sh
# Compares the tokenizer with the vocabulary tests of llama.cpp:
#
#   tests/golden/check_vocabs.sh BUILD_FOLDER LLAMA_CPP/models
#
# For each ggml-vocab-NAME.gguf that has a supported pre-tokenizer, the texts in .gguf.inp must become the ids
# in .gguf.out.
set -eu
build=${1:?usage: check_vocabs.sh BUILD_FOLDER FOLDER_WITH_GGML_VOCABS}
folder=${2:?usage: check_vocabs.sh BUILD_FOLDER FOLDER_WITH_GGML_VOCABS}
failed=0
for name in gpt-2 llama-bpe qwen2 starcoder refact mpt command-r llama-spm phi-3; do
    vocab=$folder/ggml-vocab-$name.gguf
    [ -e "$vocab" ] || { echo "$name: $vocab is not there" >&2; failed=1; continue; }
    if "$build/tests/unit_tokens_test" "$vocab" "$vocab.inp" "$vocab.out" \
        >/dev/null 2>"$build/check_vocabs.log"; then
        echo "$name: ok"
    else
        echo "$name: FAILED"
        cat "$build/check_vocabs.log"
        failed=1
    fi
done
exit $failed
