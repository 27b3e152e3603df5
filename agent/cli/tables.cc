#include "agent/cli/tables.h"

#include "dataplane/dpdk/client/inspect.h"
#include "dataplane/dpdk/shared/segment.h"

namespace sluice::cli {

bool TableSource::is_dpdk() const {
    if (engine != "auto") {
        return engine == "dpdk";
    }
    const auto pinned = dataplane::Inspector::open(bpffs);
    return !pinned && pinned.error().code == Code::kNotFound && dpdk::current_image(state_directory);
}

Result<std::unique_ptr<dataplane::Inspector>> TableSource::open() const {
    return is_dpdk() ? dpdk::open_shared_inspector(state_directory) : dataplane::Inspector::open(bpffs);
}

}  // namespace sluice::cli
