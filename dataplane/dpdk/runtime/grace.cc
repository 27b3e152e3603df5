#include "dataplane/dpdk/runtime/grace.h"

#include <rte_rcu_qsbr.h>

#include <cstdlib>
#include <thread>

namespace sluice::dpdk {
namespace {

constexpr auto kLook = std::chrono::microseconds(50);

class QsbrGrace final : public Grace {
public:
    explicit QsbrGrace(rte_rcu_qsbr* variable) : variable_(variable) {}
    std::uint64_t begin() override { return rte_rcu_qsbr_start(variable_.get()); }
    bool passed(std::uint64_t token) override { return rte_rcu_qsbr_check(variable_.get(), token, false) != 0; }
    rte_rcu_qsbr* variable() override { return variable_.get(); }

private:
    struct Free {
        void operator()(rte_rcu_qsbr* variable) const { std::free(variable); }
    };
    std::unique_ptr<rte_rcu_qsbr, Free> variable_;
};

}  // namespace

Result<std::unique_ptr<Grace>> Grace::make(std::size_t lcores) {
    const auto threads = static_cast<std::uint32_t>(lcores);
    const std::size_t size = rte_rcu_qsbr_get_memsize(threads);
    auto* variable = static_cast<rte_rcu_qsbr*>(std::aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_CACHE_LINE_ROUNDUP(size)));
    if (variable == nullptr || rte_rcu_qsbr_init(variable, threads) != 0) {
        std::free(variable);
        return make_error(Code::kResourceExhausted, "no memory for the quiescent states of {} lcores", lcores);
    }
    for (std::uint32_t thread = 0; thread < threads; ++thread) rte_rcu_qsbr_thread_register(variable, thread);
    return std::unique_ptr<Grace>(std::make_unique<QsbrGrace>(variable));
}

Result<void> Grace::wait(std::chrono::milliseconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    const std::uint64_t token = begin();
    while (!passed(token)) {
        if (std::chrono::steady_clock::now() > deadline) {
            return make_error(Code::kDeadlineExceeded, "a lcore has not passed a quiescent state in {} ms",
                              limit.count());
        }
        std::this_thread::sleep_for(kLook);
    }
    return {};
}

}  // namespace sluice::dpdk
