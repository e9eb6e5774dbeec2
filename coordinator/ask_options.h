/* ask_options - the command line of baton-ask. */
#ifndef BATON_COORDINATOR_ASK_OPTIONS_H
#define BATON_COORDINATOR_ASK_OPTIONS_H

#include "base/mem.h"
#include "proto/client.pb-c.h"

#include <stdbool.h>

enum { ASK_CHOICES_MAX = 128, ASK_STOPS_MAX = 16, ASK_INPUT_MAX = 16 << 20 /* bytes of a question */ };

typedef struct ask_options {
    const char *endpoint, *system; /* system: NULL = none */
    const char *key_file;          /* NULL = none */
    bool chat;                     /* a conversation */
    bool raw;                      /* the question is a text to go on with */
    bool stats, json, show_ids;
    double timeout_s;  /* without a sign of the coordinator */
    double deadline_s; /* of an answer; 0 = none */
    buf question;
    int32_t *ids; /* instead of it */
    size_t id_count;
    ProtobufCBinaryData stops[ASK_STOPS_MAX];
    Baton__ClientRequest request; /* what every question is asked with; its prompt is not set */
} ask_options;

/* Ends the program with 0 after --help, with 2 for what is wrong. Reads the question from standard input when
 * there is none on the line and this is no conversation. The strings are argv's; ask_options_done frees the
 * rest. */
void ask_options_read(ask_options *o, int argc, char **argv);
void ask_options_done(ask_options *o);

#endif
