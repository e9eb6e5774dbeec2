/* A config.json, which is taken for the generation_config.json, too. */
#include "checkpoint/hf_config.h"
#include "checkpoint/json_file.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *config = NULL;
    errbuf eb = {0};
    if (json_object_parse(&config, (const char *)data, size, &eb) != ST_OK) {
        CHECK(eb.text[0]);
        return 0;
    }
    key_store *keys = key_store_new();
    hf_config c = {0};
    if (hf_config_read(&c, keys, config, &eb) == ST_OK) {
        CHECK(c.layers > 0);
        CHECK(c.heads > 0);
        CHECK(c.head_dim > 0);
        (void)hf_generation_read(keys, config, config, c.vocab, &eb);
    }
    hf_config_done(&c);
    key_store_free(keys);
    json_decref(config);
    return 0;
}
