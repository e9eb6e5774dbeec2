/* chat_words - asks a server which words are one token in its vocabulary, for chats of an exact length. */
#ifndef BATON_LOAD_CHAT_WORDS_H
#define BATON_LOAD_CHAT_WORDS_H

#include "bench/load/http_url.h"
#include "bench/workload/prompt_text.h"

/* By POST /tokenize. A server that has no such page is believed to have all candidates; the caller checks
 * what `usage` says of a chat. Caller frees with prompt_text_free. */
status chat_words_find(prompt_text **out, const http_url *url, const char *model, errbuf *eb);

#endif
