// The decisions of bpf/lib/decide.h and direct.h over an lcore's tables.
//
// That code asks its surroundings for random numbers, routes and tables without saying for whom: a BPF program is alone
// on its CPU. Here a thread's variable says for which Work a decision is being taken.
#include "dataplane/dpdk/pipeline/work.h"

namespace {

thread_local sluice::dpdk::Work* deciding = nullptr;

}  // namespace

using sluice_env = sluice::dpdk::Work*;

static inline int sluice_view_open(sluice_view* view) {
    *view = deciding->image;
    return 1;
}

static inline __u32 sluice_env_random() {
    std::uint64_t x = deciding->random;  // xorshift64* (Vigna 2016); never 0
    x ^= x >> 12U;
    x ^= x << 25U;
    x ^= x >> 27U;
    deciding->random = x;
    return static_cast<__u32>(x * 0x2545f4914f6cdd1dULL >> 32U);
}

static inline int sluice_env_stays(sluice_env work, sluice_case* now, const int v6) {
    using sluice::dpdk::HopKind;
    const auto kind = v6 != 0 ? work->hops.find<1>(now->selection.address).kind
                              : work->hops.find<0>(now->selection.address).kind;
    // As to the kernel's stack, to which what has no route stays as well.
    return static_cast<int>(kind == HopKind::kLocal || kind == HopKind::kNone);
}

#define SLUICE_ENV_PORTS
static inline void sluice_env_ports(const sluice_view* /*image*/, struct sluice_flow_pair* pair) {
    pair->port_min = deciding->port_min;
    pair->port_max = deciding->port_max;
}

static inline void sluice_note_opened(const sluice_view* /*image*/, const sluice_case* now) {
    sluice::dpdk::count_connection(*deciding, now->pair.backend);
    // Of the case at hand, which `now` is.
    sluice::dpdk::log_event(*deciding, SLUICE_EVENT_OPENED);
}

// clang-format off: what is above comes before what uses it.
#include "bpf/lib/affinity.h"
#include "bpf/lib/decide.h"
#include "bpf/lib/direct.h"
#include "bpf/lib/portless.h"
// clang-format on

namespace sluice::dpdk::judge {
namespace {

void begin(Work& work) {
    deciding = &work;
    sluice_affinity_table = work.affinity;
}

}  // namespace

int decide(Work& work, bool v6) {
    begin(work);
    return v6 ? sluice_decide(&work, &work.now, &work.image, 1)
              : sluice_decide(&work, &work.now, &work.image, 0);
}

int decide_portless(Work& work, std::uint32_t error, bool v6) {
    begin(work);
    work.now.match.has_service = 0;
    return v6 ? sluice_decide_portless(&work.now, error, 1)
              : sluice_decide_portless(&work.now, error, 0);
}

bool turn_quote(Work& work, bool v6) {
    begin(work);
    return (v6 ? sluice_turn_quote(&work.now, &work.quote, 1)
               : sluice_turn_quote(&work.now, &work.quote, 0)) != 0;
}

int accept(Work& work, const sluice_address& pod, std::uint16_t port_be, bool option, bool v6) {
    begin(work);
    work.now.match.has_service = 0;
    return v6 ? sluice_direct_accept(&work.now, &work.image, &pod, port_be, option ? 1 : 0, 1)
              : sluice_direct_accept(&work.now, &work.image, &pod, port_be, option ? 1 : 0, 0);
}

}  // namespace sluice::dpdk::judge
