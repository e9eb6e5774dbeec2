/* ask_chat - a conversation at the terminal, or of the lines of a pipe. */
#ifndef BATON_COORDINATOR_ASK_CHAT_H
#define BATON_COORDINATOR_ASK_CHAT_H

#include "coordinator/ask_session.h"

/* Asks for t, whose last turn is the user's, and prints the answer; on success adds it to t, else takes the
 * user's turn back unless something was answered. */
ask_result ask_chat_turn(const ask_options *o, ask_talk *t);
/* Each line is a question, but /reset, /system TEXT, /save FILE, /help and /exit; until the end of the input.
 * first: asked before, "" for none. The exit status: of the last answer when no person is at the keyboard. */
ask_result ask_chat_run(const ask_options *o, ask_talk *t, const buf *first);

#endif
