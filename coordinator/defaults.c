#include "coordinator/defaults.h"

#include "base/mem.h"

#include <stdio.h>

status defaults_read(sampling *out, const checkpoint *c, errbuf *eb) {
    PRE(out);
    PRE(c);
    sampling s = sampling_default();
    double top_k = s.top_k;
    const struct {
        const char *name;
        float *real; /* NULL: top_k */
        double least, most;
    } keys[] = {
        {"temperature", &s.temperature, 0, 100},
        {"top_p", &s.top_p, 1e-6, 1},
        {"min_p", &s.min_p, 0, 1},
        {"repetition_penalty", &s.repetition_penalty, 0.01, 100},
        {"top_k", NULL, -1, INT32_MAX},
    };
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        char key[48];
        double value;
        snprintf(key, sizeof key, "generation.%s", keys[i].name);
        if (!checkpoint_f64(c, key, &value)) continue;
        if (!(value >= keys[i].least && value <= keys[i].most))
            return errf(eb, ST_CORRUPT,
                        "generation_config.json: %s is %g, want %g to %g (or model.generation_config: false)",
                        keys[i].name, value, keys[i].least, keys[i].most);
        if (keys[i].real)
            *keys[i].real = (float)value;
        else
            top_k = value;
    }
    s.top_k = (int32_t)top_k;
    *out = s;
    return ST_OK;
}
