#include "bench/load/chat_words.h"

#include "base/clock.h"
#include "bench/load/http_fetch.h"

#include <jansson.h>
#include <stdlib.h>

#define ANSWER_MAX 65536u

/* Tokens of the text; < 0: the server does not say */
static int count_tokens(const http_url *url, const char *model, const char *text) {
    json_t *ask = json_pack("{s:s, s:s, s:b}", "model", model, "prompt", text, "add_special_tokens", 0);
    char *json = ask ? json_dumps(ask, JSON_COMPACT) : NULL;
    buf body = {0};
    int code = 0, count = -1;
    if (json &&
        http_fetch_wait(url, "/tokenize", json, ANSWER_MAX, 5 * NS_PER_S, &code, &body, NULL) == ST_OK &&
        code == 200) {
        json_t *answer = json_loadb(body.data, body.len, 0, NULL);
        const json_t *tokens = json_object_get(answer, "tokens");
        if (json_is_array(tokens)) count = (int)json_array_size(tokens);
        json_decref(answer);
    }
    buf_done(&body);
    free(json);
    json_decref(ask);
    return count;
}

status chat_words_find(prompt_text **out, const http_url *url, const char *model, errbuf *eb) {
    PRE(out);
    PRE(url);
    PRE(model);
    uint32_t count = 0;
    const char *const *words = prompt_text_candidates(&count);
    bool *spaced = xcalloc(count, sizeof *spaced), *bare = xcalloc(count, sizeof *bare);
    bool told = count_tokens(url, model, words[0]) >= 0;
    for (uint32_t i = 0; i < count; i++) {
        char *with_blank = xasprintf(" %s", words[i]);
        spaced[i] = !told || count_tokens(url, model, with_blank) == 1;
        bare[i] = !told || (spaced[i] && count_tokens(url, model, words[i]) == 1);
        free(with_blank);
    }
    status st = prompt_text_new(out, spaced, bare, eb);
    free(spaced);
    free(bare);
    return st == ST_OK ? st : err_prefix(eb, st, "the server's vocabulary");
}
