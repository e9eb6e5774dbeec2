/* ctl_limits - how large a control message may be; the bounds of arrays of the sampling parameters are in
 * token/sampling.h. */
#ifndef BATON_CTL_LIMITS_H
#define BATON_CTL_LIMITS_H

#define CTL_BYTES_MAX (16u << 20) /* of one message: two arrays of CTL_IDS_MAX ids in varints, and room */
#define CTL_UNPACK_MAX                                                                                       \
    (128u                                                                                                    \
     << 20) /* memory that the parser may take meanwhile; hostile bytes could ask for 40 times their size */
#define CTL_IDS_MAX      (1u << 20) /* prompt or output ids */
#define CTL_TOKENS_MAX   (1u << 16) /* entries of one TOKENS: one per sequence of a worker */
#define CTL_PROMPT_MAX   1024u      /* tokens told by one PROMPT: 200 KB with 20 best each */
#define CTL_STRING_MAX   4096u      /* bytes without the NUL */
#define CTL_NUMERICS_MAX 64u        /* parts of a numerics id */
#define CTL_STEPS_MAX    256u       /* steps told by one heartbeat */

#endif
