/* use_tokenizer - a tokenizer of whatever the checkpoint holds, used both ways. */
#ifndef BATON_TESTS_USE_TOKENIZER_H
#define BATON_TESTS_USE_TOKENIZER_H

#include "base/mem.h"
#include "text/tokenizer.h"

#include <string.h>

static inline void use_tokenizer(const checkpoint *ckpt) {
    static const char text[] = "  Hello, world's\n\n<|im_start|>ab 12345  \xe2\x96\x81\xc3\xa9"
                               "e\xcc\x81\xf0\x9f\x99\x82<s> </s><0x0A>\t_x \xe4\xbd\xa0 aaaaaaaaaaaaaaaaaa";
    static const text_span plain[] = {{2, 9}};
    tokenizer *t = NULL;
    errbuf eb = {0};
    if (tokenizer_new(&t, ckpt, &eb) != ST_OK) {
        CHECK(eb.text[0]);
        return;
    }
    for (uint32_t way = 0; way < 4; way++) {
        token_list ids = {0};
        encode_options opt = {
            .add_special = way & 1, .parse_special = way & 2, .plain = plain, .plain_count = 1};
        opt.max_tokens = way == 3 ? 5 : 1000;
        if (tokenizer_encode(t, text, strlen(text), &opt, &ids, NULL) == ST_OK)
            CHECK(ids.count <= opt.max_tokens);
        buf out = {0};
        detok d = detok_after(t, ids.ids, ids.count / 2);
        for (uint32_t i = ids.count / 2; i < ids.count; i++) {
            CHECK(ids.ids[i] >= 0);
            CHECK((uint32_t)ids.ids[i] < tokenizer_vocab(t));
            detok_add(&d, t, ids.ids[i], way & 1, &out);
        }
        detok_end(&d, &out);
        buf_done(&out);
        token_list_done(&ids);
    }
    char bytes[8];
    for (uint32_t id = 0; id < MIN(tokenizer_vocab(t), 300u); id++) {
        (void)tokenizer_bytes(t, (int32_t)id, bytes, sizeof bytes);
        (void)tokenizer_is_special(t, (int32_t)id);
    }
    tokenizer_free(t);
}

#endif
