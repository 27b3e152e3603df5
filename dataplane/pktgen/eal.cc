// DPDK's environment, which a process starts once.
#include <rte_eal.h>
#include <rte_errno.h>

#include <vector>

#include "dataplane/pktgen/runner.h"

namespace sluice::pktgen {
namespace {

bool& started() {
    static bool value = false;
    return value;
}

}  // namespace

Result<void> start_eal(const std::string& program, const std::vector<std::string>& arguments) {
    if (started()) {
        return make_error(Code::kFailedPrecondition,
                          "eal: it was started before, and cannot be a second time");
    }
    // rte_eal_init keeps pointers to what it was given.
    static std::vector<std::string> words;
    words = {program};
    words.insert(words.end(), arguments.begin(), arguments.end());
    static std::vector<char*> argv;
    for (std::string& word : words) {
        argv.push_back(word.data());
    }
    started() = true;
    if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
        return errno_error(rte_errno, "eal: it does not start; its own lines above say why");
    }
    return {};
}

void stop_eal() { rte_eal_cleanup(); }

}  // namespace sluice::pktgen
