// Removing everything: for `sluice-agent --cleanup` and for tests.
#include <unistd.h>

#include "dataplane/ebpf/attach.h"
#include "dataplane/ebpf/ebpf_engine.h"
#include "dataplane/ebpf/pins.h"
#include "dataplane/ebpf/programs.h"

namespace sluice::dataplane {

Result<std::vector<std::string>> cleanup_ebpf(const EbpfOptions& options) {
    quiet_libbpf();
    const PinPaths paths = PinPaths::under(options.bpffs);
    SLUICE_TRY_ASSIGN(std::vector<std::string> removed, detach_all(paths.links));
    SLUICE_TRY_ASSIGN(const std::vector<std::string> filters, remove_filters());
    removed.insert(removed.end(), filters.begin(), filters.end());
    for (const std::string& name : list_directory(paths.root)) {
        const std::string full = paths.root + "/" + name;
        // Links go first and by themselves; the symbolic link `current` is removed as a file.
        if (unlink(full.c_str()) != 0) {
            SLUICE_TRY(remove_directory(full));
        }
        removed.push_back("pins " + full);
    }
    SLUICE_TRY(remove_directory(paths.root));
    return removed;
}

}  // namespace sluice::dataplane
