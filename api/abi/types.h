/* Fixed-width integer types for headers that are compiled by BPF C, by C and by C++. */
#ifndef SLUICE_ABI_TYPES_H
#define SLUICE_ABI_TYPES_H

#include <linux/types.h>

#ifdef __cplusplus
#define SLUICE_STATIC_ASSERT(cond, text) static_assert(cond, text)
#else
#define SLUICE_STATIC_ASSERT(cond, text) _Static_assert(cond, text)
#endif

/* Of what is copied often: compilers copy by words as large as the type's alignment. */
#define SLUICE_WHOLE_WORDS __attribute__((aligned(8)))

#endif
