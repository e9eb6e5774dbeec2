/* ask_talk - the turns of a conversation, as baton-ask remembers them. */
#ifndef BATON_COORDINATOR_ASK_TALK_H
#define BATON_COORDINATOR_ASK_TALK_H

#include "base/mem.h"
#include "base/status.h"

typedef struct ask_turn {
    const char *role; /* "system", "user", "assistant": static */
    buf content;      /* UTF-8 */
} ask_turn;

typedef struct ask_talk {
    ask_turn *turns; /* the first is the system message, if there is one */
    size_t count;
} ask_talk; /* start it zeroed */

void ask_talk_add(ask_talk *t, const char *role, const void *content, size_t len);
/* Takes the last turn back. */
void ask_talk_drop(ask_talk *t);
/* Forgets everything, and begins with this system message; NULL or "" = without one. */
void ask_talk_reset(ask_talk *t, const char *system);
/* The system message alone, which may be NULL. Borrowed until the next change. */
const char *ask_talk_system(const ask_talk *t);
/* {"messages": [...]}, the body of a chat request, into a file. ST_IO names it. */
status ask_talk_save(const ask_talk *t, const char *path, errbuf *eb);
void ask_talk_done(ask_talk *t);

#endif
