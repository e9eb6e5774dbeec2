/* baton-ask - asks a running cluster over the native socket and writes the answer to stdout as it comes.
 *
 *   options -> question, or a conversation (ask_chat) -> session -> print
 *
 * Exit status: 0 answered, 1 refused, 2 usage, 3 no coordinator, 4 --deadline, 130 Ctrl-C. */
#include "coordinator/ask_chat.h"

int main(int argc, char **argv) {
    ask_options o;
    ask_options_read(&o, argc, argv);
    ask_talk talk = {0};
    ask_talk_reset(&talk, o.system);
    ask_result result;
    if (o.chat) {
        result = ask_chat_run(&o, &talk, &o.question);
    } else {
        if (!o.raw && !o.id_count) ask_talk_add(&talk, "user", o.question.data, o.question.len);
        result = ask_chat_turn(&o, &talk);
    }
    ask_talk_done(&talk);
    ask_options_done(&o);
    return (int)result;
}
