// Finds the slices that one manager keeps for a Service, and writes changes to them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "control/controllers/controller.h"
#include "control/controllers/endpointslice/packing.h"
#include "control/controllers/endpointslice/written.h"

namespace sluice::controllers::endpoints {

// Thread-safe for different Services.
class SliceWriter {
public:
    // changed is called with "namespace/service" when somebody else changed a slice of this
    // manager.
    SliceWriter(Context& context, std::string manager,
                std::function<void(const std::string& service)> changed);

    [[nodiscard]] std::vector<SlicePtr> slices(const std::string& service);
    // Creates, then updates, then removes, so that no endpoint is missing meanwhile. After a
    // failure the cache decides again.
    Result<void> write(const std::string& service, const Changes& changes);

private:
    [[nodiscard]] bool is_ours(const Slice& slice) const;

    Context& context_;
    const codec::KindInfo& kind_;
    const std::string manager_;
    client::Informer& informer_;
    std::function<void(const std::string&)> changed_;
    WrittenSlices written_;
};

}  // namespace sluice::controllers::endpoints
