/* A .safetensors file: every byte that a tensor claims is there. */
#include "checkpoint/safetensors.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    safetensors *s = NULL;
    errbuf eb = {0};
    if (safetensors_parse(&s, data, size, &eb) != ST_OK) {
        CHECK(eb.text[0]);
        return 0;
    }
    for (uint64_t i = 0; i < safetensors_count(s); i++) {
        const checkpoint_tensor *t = &safetensors_at(s, i)->t;
        const uint8_t *bytes = t->data;
        CHECK(t->dim_count <= 4);
        CHECK(t->name.data[t->name.len] == '\0');
        if (t->bytes == 0) continue;
        CHECK(bytes >= data);
        CHECK(t->bytes <= size - (size_t)(bytes - data));
    }
    safetensors_close(s);
    return 0;
}
