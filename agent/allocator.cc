// How sluice-agent's allocator, jemalloc, is to keep memory. It is linked to this program only.
//
// A list of everything is read in parts, each part's messages freed as its facts are kept: in glibc's arenas the facts
// end up among the holes (50,000 services: 169 MB resident), in jemalloc's pages by size they do not (147).

// Read by jemalloc as it begins, which is before main(). One arena, for nearly all that is kept is the sync thread's;
// pages that nobody used for a second go back to the kernel, by a thread in the background.
extern "C" const char* malloc_conf;  // NOLINT(readability-identifier-naming): jemalloc's name
const char* malloc_conf = "background_thread:true,narenas:1,dirty_decay_ms:1000,muzzy_decay_ms:0";
