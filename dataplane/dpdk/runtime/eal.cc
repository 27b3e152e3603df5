#include "dataplane/dpdk/runtime/eal.h"

#include <pthread.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_memory.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <map>

namespace sluice::dpdk {
namespace {

// EAL can be started once; after rte_eal_cleanup() a process cannot start it again.
std::atomic<bool> eal_started{false};

class RealEal final : public Eal {
public:
    RealEal(std::vector<unsigned> lcores, std::string memory, const cpu_set_t& before)
        : lcores_(std::move(lcores)), memory_(std::move(memory)), others_(before) {
        for (const unsigned lcore : lcores_) {
            const rte_cpuset_t cpus = rte_lcore_cpuset(lcore);
            for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
                if (CPU_ISSET(cpu, &cpus)) CPU_CLR(cpu, &others_);
            }
        }
        if (CPU_COUNT(&others_) == 0) others_ = before;
    }
    ~RealEal() override { rte_eal_cleanup(); }
    RealEal(const RealEal&) = delete;
    RealEal& operator=(const RealEal&) = delete;

    Result<void> probe(const std::string& device) override {
        const int answer = rte_dev_probe(device.c_str());
        if (answer < 0) return errno_error(-answer, "device {}", device);
        return {};
    }
    [[nodiscard]] const std::vector<unsigned>& lcores() const override { return lcores_; }
    [[nodiscard]] const std::string& memory() const override { return memory_; }
    void leave_lcores() const override {
        // Where it stays otherwise is allowed too, only slower.
        pthread_setaffinity_np(pthread_self(), sizeof(others_), &others_);
    }
    [[nodiscard]] std::uint64_t cycles_per_second() const override { return rte_get_tsc_hz(); }

private:
    std::vector<unsigned> lcores_;
    std::string memory_;
    cpu_set_t others_;
};

int add_size(const rte_memseg_list* list, void* sizes) {
    if (list->external == 0) {
        (*static_cast<std::map<std::uint64_t, std::uint64_t>*>(sizes))[list->page_sz] += list->len;
    }
    return 0;
}

std::string describe_memory() {
    if (rte_eal_has_hugepages() == 0) {
        return fmt::format("no hugepages (--no-huge), {} MiB", rte_eal_get_physmem_size() >> 20U);
    }
    std::map<std::uint64_t, std::uint64_t> sizes;
    rte_memseg_list_walk(add_size, &sizes);
    std::string out;
    for (const auto& [page, bytes] : sizes) {
        out += fmt::format("{}{} kB", out.empty() ? "hugepages of " : " and ", page >> 10U);
    }
    return fmt::format("{}, {} MiB so far", out.empty() ? "hugepages" : out, rte_eal_get_physmem_size() >> 20U);
}

// "--vdev=x" or "--vdev x".
bool is_option(const std::string& argument, std::string_view name) {
    return argument == name || argument.starts_with(std::string(name) + "=");
}

}  // namespace

EalArguments split_devices(const std::vector<std::string>& arguments) {
    EalArguments out;
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const auto& argument = arguments[i];
        out.all_later = out.all_later || argument == "--no-pci";
        if (argument == "--vdev" && i + 1 < arguments.size()) {
            out.devices.push_back(arguments[++i]);
        } else if (argument.starts_with("--vdev=")) {
            out.devices.push_back(argument.substr(7));
        } else {
            out.now.push_back(argument);
        }
    }
    return out;
}

bool has_own_prefix(const std::vector<std::string>& arguments) {
    return std::any_of(arguments.begin(), arguments.end(), [](const std::string& argument) {
        return is_option(argument, "--file-prefix") || argument == "--in-memory" || argument == "--no-huge" ||
               argument == "--no-shconf";
    });
}

Result<std::unique_ptr<Eal>> Eal::start(const std::vector<std::string>& arguments) {
    if (eal_started.exchange(true)) {
        return make_error(Code::kFailedPrecondition, "EAL was started in this process already");
    }
    cpu_set_t before;
    CPU_ZERO(&before);
    pthread_getaffinity_np(pthread_self(), sizeof(before), &before);
    // EAL permutes the array and keeps pointers into it.
    static std::vector<std::string> texts;
    static std::vector<char*> pointers;
    texts = {"sluice-dpdk"};
    texts.insert(texts.end(), arguments.begin(), arguments.end());
    for (auto& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    if (rte_eal_init(static_cast<int>(texts.size()), pointers.data()) < 0) {
        const int why = rte_errno;
        if (why == EINVAL) {
            return make_error(Code::kInvalidArgument, "EAL refuses its arguments (those after --); it says why above");
        }
        return errno_error(why, "EAL did not start; it says why above");
    }
    std::vector<unsigned> lcores{rte_get_main_lcore()};
    unsigned lcore = 0;
    RTE_LCORE_FOREACH_WORKER(lcore) { lcores.push_back(lcore); }
    return std::unique_ptr<Eal>(std::make_unique<RealEal>(std::move(lcores), describe_memory(), before));
}

}  // namespace sluice::dpdk
