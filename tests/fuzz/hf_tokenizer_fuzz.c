/* A tokenizer.json, and the tokenizer that comes of it. */
#include "checkpoint/hf_tokenizer.h"
#include "fuzz.h"
#include "tests/unit/key_checkpoint.h"
#include "use_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    key_store *keys = key_store_new();
    errbuf eb = {0};
    if (hf_tokenizer_parse(keys, (const char *)data, size, 0, &eb) != ST_OK) {
        CHECK(eb.text[0]);
        key_store_free(keys);
        return 0;
    }
    checkpoint *c = key_checkpoint(keys);
    use_tokenizer(c);
    checkpoint_close(c);
    return 0;
}
