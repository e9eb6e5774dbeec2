/* A GGUF file: what is in it, the model it says it is, its tokenizer. */
#include "checkpoint/gguf.h"
#include "fuzz.h"
#include "model/model.h"
#include "use_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    checkpoint *c = NULL;
    errbuf eb = {0};
    if (gguf_parse_checkpoint(&c, data, size, &eb) != ST_OK) {
        CHECK(eb.text[0]);
        return 0;
    }
    model *m = NULL;
    if (model_load(&m, c, &eb) == ST_OK) model_free(m);
    use_tokenizer(c);
    checkpoint_close(c);
    return 0;
}
