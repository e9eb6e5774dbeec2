/* A control message: what is understood is packed to something that means the same. */
#include "base/mem.h"
#include "ctl/ctl.h"
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    ctl_msg m, again;
    errbuf eb = {0};
    if (ctl_unpack(data, size, &m, &eb) != ST_OK) {
        CHECK(eb.text[0]);
        return 0;
    }
    buf first = {0}, second = {0};
    ctl_pack(&m, &first);
    if (ctl_unpack(first.data ? first.data : "", first.len, &again, &eb) != ST_OK) {
        fprintf(stderr, "%s\n", eb.text);
        CHECK(false);
    }
    ctl_pack(&again, &second);
    CHECK(first.len == second.len);
    CHECK(first.len == 0 || memcmp(first.data, second.data, first.len) == 0);
    buf_done(&first);
    buf_done(&second);
    ctl_done(&m);
    ctl_done(&again);
    return 0;
}
