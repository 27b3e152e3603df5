// How sluice-control's allocator, jemalloc, is to keep memory. It is linked to this program only.
//
// A request allocates on the connection's thread what a worker or the store's thread frees, and most allocations are
// small: glibc's arenas spend a fifth of a create's CPU on that, jemalloc's thread caches a tenth.

// Read by jemalloc as it begins, which is before main(). Few arenas, as each keeps pages of its own; pages that
// nobody used for a second go back to the kernel, by a thread in the background.
extern "C" const char* malloc_conf;  // NOLINT(readability-identifier-naming): jemalloc's name
const char* malloc_conf = "background_thread:true,narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:0";
