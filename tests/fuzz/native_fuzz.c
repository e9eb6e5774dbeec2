/* A message of a native client. */
#include "coordinator/native_wire.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const api_model model = {.name = "tiny", .max_context = 4096, .vocab = 300};
    Baton__ClientMessage *m = baton__client_message__unpack(NULL, size, data);
    if (!m) return 0;
    if (m->body_case == BATON__CLIENT_MESSAGE__BODY_REQUEST) {
        api_request r;
        api_error e = {0};
        api_request_init(&r, API_COMPLETION);
        if (native_wire_request(m->request, model.name, 1, &r, &e) == ST_OK) {
            if (api_check(&r, &model, &e) != ST_OK) CHECK(e.http);
        } else {
            CHECK(e.http);
        }
        api_request_done(&r);
    }
    baton__client_message__free_unpacked(m, NULL);
    return 0;
}
