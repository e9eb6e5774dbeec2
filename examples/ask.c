/* Asks a Baton cluster over its native socket, a ZeroMQ DEALER: a head {session, number}, then a message of
 * client.proto. protoc-c --c_out=. -I ../proto client.proto cc -o ask ask.c client.pb-c.c -lzmq -lprotobuf-c
 * && ./ask tcp://127.0.0.1:8002 "Hello!" The coordinator answers pings, so a client that hears nothing for
 * long knows that nobody is there. */
#include "client.pb-c.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <zmq.h>

static void send_message(void *socket, const Baton__ClientMessage *m) {
    static uint64_t head[2]; /* any number, the same for the whole connection; 1, 2, 3, ... (little endian) */
    if (!head[1]++) head[0] = (uint64_t)time(NULL) << 32 | (uint32_t)getpid();
    zmq_send(socket, head, sizeof head, ZMQ_SNDMORE);
    size_t len = baton__client_message__get_packed_size(m);
    uint8_t *bytes = malloc(len);
    baton__client_message__pack(m, bytes);
    zmq_send(socket, bytes, len, 0);
    free(bytes);
}

static int take(const Baton__ServerEvent *e) { /* whether the answer goes on */
    int on = e->body_case != BATON__SERVER_EVENT__BODY_END && e->body_case != BATON__SERVER_EVENT__BODY_ERROR;
    if (e->body_case == BATON__SERVER_EVENT__BODY_TOKEN)
        fwrite(e->token->text.data, 1, e->token->text.len, stdout);
    if (e->body_case == BATON__SERVER_EVENT__BODY_END)
        printf("%.*s\n(%u tokens)\n", (int)e->end->text.len, (char *)e->end->text.data,
               e->end->completion_tokens);
    if (e->body_case == BATON__SERVER_EVENT__BODY_ERROR)
        printf("%u: %s\n", e->error->http, e->error->message);
    fflush(stdout);
    for (size_t i = 0; i < e->n_more; i++) on = take(e->more[i]) && on;
    return on;
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "usage: ask ENDPOINT QUESTION\n"), 2;
    void *socket = zmq_socket(zmq_ctx_new(), ZMQ_DEALER);
    const int second = 1000;
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &second, sizeof second);
    if (zmq_connect(socket, argv[1]))
        return fprintf(stderr, "%s: %s\n", argv[1], zmq_strerror(zmq_errno())), 2;

    Baton__ClientChatTurn turn = BATON__CLIENT_CHAT_TURN__INIT, *turns[] = {&turn};
    turn.role = (char *)"user", turn.content = (ProtobufCBinaryData){strlen(argv[2]), (uint8_t *)argv[2]};
    Baton__ClientChat chat = BATON__CLIENT_CHAT__INIT;
    chat.n_turns = 1, chat.turns = turns;
    Baton__ClientRequest request = BATON__CLIENT_REQUEST__INIT;
    request.id = 1, request.has_max_tokens = 1, request.max_tokens = 64;
    request.prompt_case = BATON__CLIENT_REQUEST__PROMPT_CHAT, request.chat = &chat;
    Baton__ClientPing ping = BATON__CLIENT_PING__INIT;
    Baton__ClientMessage ask = BATON__CLIENT_MESSAGE__INIT, alive = ask;
    ask.body_case = BATON__CLIENT_MESSAGE__BODY_REQUEST, ask.request = &request;
    alive.body_case = BATON__CLIENT_MESSAGE__BODY_PING, alive.ping = &ping;

    send_message(socket, &ask);
    for (int silent = 0, on = 1; on; silent++) {
        static uint8_t frame[1 << 20];
        int len = zmq_recv(socket, frame, sizeof frame, 0); /* the head */
        if (len >= 0) len = zmq_recv(socket, frame, sizeof frame, 0);
        if (silent == 10) return fprintf(stderr, "nobody answers at %s\n", argv[1]), 3;
        Baton__ServerEvent *e = len < 0 ? NULL : baton__server_event__unpack(NULL, (size_t)len, frame);
        if (!e) send_message(socket, &alive);
        if (e) silent = 0, on = take(e), baton__server_event__free_unpacked(e, NULL);
    }
    return 0;
}
