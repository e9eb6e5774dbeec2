#include "coordinator/ask_chat.h"

#include "coordinator/ask_print.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] = "/system TEXT  begin again, with this system message\n"
                           "/reset        forget what was said\n"
                           "/save FILE    write the conversation, as the body of a chat request\n"
                           "/exit         end (so does Ctrl-D); Ctrl-C stops an answer\n";

ask_result ask_chat_turn(const ask_options *o, ask_talk *t) {
    PRE(o);
    PRE(t);
    errbuf eb = {0};
    ask_print *p = ask_print_new(o);
    ask_sink sink = ask_print_sink(p);
    ask_result result = ask_session_run(o, t, &sink, &eb);
    ask_print_end(p, result, eb.text);
    const buf *text = ask_print_text(p);
    if (t->count && (result == ASK_ANSWERED || text->len))
        ask_talk_add(t, "assistant", text->len ? text->data : "", text->len);
    else if (t->count)
        ask_talk_drop(t);
    ask_print_free(p);
    return result;
}

/* Takes a line that is no question. False: it is to end. */
static bool command(ask_talk *t, char *line) {
    errbuf eb = {0};
    char *rest = line + strcspn(line, " ");
    if (*rest) *rest++ = '\0';
    rest += strspn(rest, " ");
    if (strcmp(line, "/exit") == 0 || strcmp(line, "/quit") == 0) return false;
    if (strcmp(line, "/reset") == 0)
        ask_talk_reset(t, ask_talk_system(t));
    else if (strcmp(line, "/system") == 0)
        ask_talk_reset(t, rest);
    else if (strcmp(line, "/save") == 0 && *rest)
        (void)(ask_talk_save(t, rest, &eb) == ST_OK || fprintf(stderr, "baton-ask: %s\n", eb.text));
    else if (strcmp(line, "/help") == 0)
        fputs(help, stderr);
    else
        fprintf(stderr, "baton-ask: %s is unknown, or lacks a word; /help tells the others\n", line);
    return true;
}

ask_result ask_chat_run(const ask_options *o, ask_talk *t, const buf *first) {
    PRE(o);
    PRE(t);
    PRE(first);
    const bool person = isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
    ask_result result = ASK_ANSWERED;
    if (first->len) {
        ask_talk_add(t, "user", first->data, first->len);
        result = ask_chat_turn(o, t);
    }
    char *line = NULL;
    size_t capacity = 0;
    for (bool on = true; on && (person || result == ASK_ANSWERED);) {
        if (person) fputs("> ", stderr);
        ssize_t len = getline(&line, &capacity, stdin);
        if (len < 0) break;
        while (len > 0 && strchr("\r\n", line[len - 1])) line[--len] = '\0';
        if (len == 0) continue;
        if (line[0] == '/') {
            on = command(t, line);
            continue;
        }
        ask_talk_add(t, "user", line, (size_t)len);
        result = ask_chat_turn(o, t);
    }
    if (person) fputs("\n", stderr);
    free(line);
    return person ? ASK_ANSWERED : result;
}
